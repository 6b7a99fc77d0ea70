// Python face of the DICOM walk: checks sizes, hands over arrays, turns results into tuples.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "bindings.hpp"
#include "dicom_scan.hpp"

namespace nb = nanobind;
using namespace nb::literals;
namespace dicom = medge::dicom;

namespace {

using WantedRows = nb::ndarray<const uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using RecordRows = nb::ndarray<uint32_t, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using FragmentRows = nb::ndarray<uint64_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
static_assert(sizeof(dicom::Wanted) == 8 && sizeof(dicom::Record) == 16);
static_assert(sizeof(dicom::Fragment) == 16);

/// Status, count, offset, tag, VR, length, depth, needed.
using HeaderFound =
    std::tuple<uint32_t, uint32_t, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t, uint64_t>;
/// Status, count, next.
using FragmentsFound = std::tuple<uint32_t, size_t, uint64_t>;

HeaderFound scan_header(nb::bytes data, uint64_t start, uint64_t total, bool explicit_vr,
                      bool big_endian, bool meta_only, WantedRows wanted, RecordRows records) {
  if (start > data.size() || data.size() > total)
    throw nb::value_error("start <= len(data) <= total does not hold");
  const dicom::Source source{static_cast<const uint8_t *>(data.data()), data.size(), total, start,
                             explicit_vr, big_endian, meta_only};
  const dicom::Scan s =
      dicom::scan(source, reinterpret_cast<const dicom::Wanted *>(wanted.data()), wanted.shape(0),
                  reinterpret_cast<dicom::Record *>(records.data()), records.shape(0));
  return {uint32_t(s.status), s.count, s.offset, s.tag, s.vr, s.length, s.depth, s.needed};
}

FragmentsFound scan_fragments(int fd, uint64_t offset, uint64_t size, FragmentRows fragments) {
  if (offset > size) throw nb::value_error("offset <= size does not hold");
  dicom::FragmentScan s;
  {
    nb::gil_scoped_release release;  // a cine may have thousands of items on a slow disk
    s = dicom::scan_fragments(fd, offset, size,
                              reinterpret_cast<dicom::Fragment *>(fragments.data()),
                              fragments.shape(0));
  }
  return {uint32_t(s.status), s.count, s.next};
}

}  // namespace

void bind_scan(nb::module_ &m) {
  m.def("scan_header", &scan_header, "data"_a, "start"_a, "total"_a, "explicit_vr"_a,
        "big_endian"_a, "meta_only"_a, "wanted"_a, "records"_a,
        "Walk the DICOM elements of `data`, the first bytes of a file of `total` bytes.\n\n"
        "`wanted`: uint32 (n, 2), tag and 1 for a sequence, sorted by tag. `records`: uint32\n"
        "(m, 4), filled with tag, VR << 16 | little << 8 | level, offset, length.\n"
        "Returns (status, count, offset, tag, vr, length, depth, needed); see dicom_scan.hpp.");
  m.def("scan_fragments", &scan_fragments, "fd"_a, "offset"_a, "size"_a, "fragments"_a,
        "List the items of encapsulated pixel data into `fragments`, uint64 (n, 2): offset and\n"
        "length of each. Returns (status, count, next); see dicom_scan.hpp.");
}
