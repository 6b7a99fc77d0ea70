// Pixel kernels: what a picture passes through from stored words to tensor, and their builds.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge {

enum class Word : int32_t { u8, u16, u16_swapped, f32 };  // swapped: in the other byte order
enum class Packing : int32_t { mono, interleaved, planar, ybr_422 };
/// How stored samples become display values.
enum class Map : int32_t { line, table, palette, ybr };
/// How an accumulated row becomes one plane (gray) or three (red, green, blue).
enum class Pick : int32_t { planes, split, luma_of_split, luma_of_planes, first_of_3, first_of_422 };

/// Rows and samples of a row that are mapped before they are added up.
constexpr int32_t kBlock = 4;
constexpr size_t kTile = 512;

/// Weights of one resampled axis: output i is the sum over k < count[i] of
/// weights[i * taps + k] * input[first[i] + k]. `first` and `first + count` never decrease.
struct Axis {
  int32_t size, taps;
  const int32_t *first, *count;
  const float *weights;
};

/// Where samples of a row lie and which bits of a word they are.
struct Stored {
  Word word;
  Packing packing;
  bool is_signed;
  uint32_t left, right;    ///< shifts of a 32-bit word that leave the sample
  size_t row_bytes;        ///< from row to row
  size_t plane_bytes;      ///< from plane to plane (planar)
  size_t begin_bytes;      ///< from the start of a row to its first sample used
};

/// The display transform of one frame.
struct Mapping {
  float base, scale, offset;       ///< line: clamp((sample - base) * scale + offset, 0, 1)
  bool plain;                      ///< line: sample * scale is the same for all samples
  bool padded;                     ///< line: samples in [pad_low, pad_high] become 0
  int32_t pad_low, pad_high;
  const float *table;              ///< by the sample's bits; palette: three tables of table_size
  size_t table_size;
  float middle;                    ///< ybr: chroma value of gray
};

struct Tensor {
  int32_t channels, height, width;
  bool bytes, nhwc;                ///< uint8 instead of float32; channels last
  float mean[3], inverse_std[3];
};

struct Plan {
  Stored stored;
  Map map;
  Pick pick;
  int32_t planes, samples;         ///< of an accumulated row, per plane
  size_t sample_bytes;             ///< stored bytes of one of these samples
  int32_t width, colours;          ///< pixels of a row; planes after the pick, 1 or 3
  size_t stride;                   ///< floats from plane to plane of an accumulated row
  bool pull;                       ///< keep mapped rows, not accumulators (enlarging)
  int32_t slots;                   ///< rows kept
  Axis vertical, horizontal;       ///< horizontal.taps is a multiple of 8 (kernels_sums.inl)
  int32_t top, left;               ///< place of the resized picture in the tensor
  float pad;                       ///< display value around it
  bool rounded;                    ///< resized values are rounded to multiples of 1/255
  Tensor tensor;
  uint8_t *enhanced;               ///< (height, width) to be enhanced before it is written, or null
  /// Scratch: slots of rows; a tile of each row of a block, or one row; three rows; three lines.
  float *kept, *mapped, *picked, *line;
};

/// How far a picture has come; rows may arrive in several calls, in order.
struct Progress {
  int32_t next;  ///< the first output row that is not written
};

/// One build of every kernel for one instruction set.
struct Kernels {
  const char *name;  ///< "scalar", "avx2", "avx512", "neon"
  bool (*supported)() noexcept;
  /// Take rows [first, last) of the picture; `data` is the start of row `first`.
  void (*rows)(const Plan &, const Mapping &, Progress &, const uint8_t *data, int32_t first,
               int32_t last, void *out) noexcept;
  /// Write the enhanced picture to the tensor.
  void (*enhanced)(const Plan &, void *out) noexcept;
};

extern const Kernels scalar_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avx512_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

/// All builds that this machine can run, the best first, ended by nullptr.
const Kernels *const *kernels_here() noexcept;
/// The build of this name if it can run here, else nullptr.
const Kernels *kernels_named(const char *name) noexcept;

}  // namespace medge
