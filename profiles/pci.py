"""Graphics and accelerator hardware as the PCI bus and the kernel's device classes show it."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from medge.profiles.kernel_files import ROOT, entries, read_text, read_word

INTEL, AMD, NVIDIA = "0x8086", "0x1002", "0x10de"
VENDORS = {INTEL: "Intel", AMD: "AMD", NVIDIA: "NVIDIA", "0x1af4": "virtio", "0x15ad": "VMware"}
_DISPLAY = "0x03"  # PCI class: VGA 0300, 3D controller 0302, display 0380


class Adapter(Struct, frozen=True):
    """One graphics processor or accelerator that the kernel sees.

    Parameters
    ----------
    kind
        "gpu", or "npu" for what has the class accel.
    vendor, device
        PCI identifiers, as "0x8086"; ``device`` is empty where it cannot be read.
    driver
        The kernel's driver that holds it, None where none does.
    """

    kind: str
    vendor: str
    device: str
    driver: str | None
    source: str

    @property
    def vendor_name(self) -> str:
        """Return the maker's name, its identifier where that is not known."""
        return VENDORS.get(self.vendor, f"vendor {self.vendor}")


def adapters(root: Path = ROOT) -> tuple[Adapter, ...]:
    """Return GPUs of the PCI bus and NPUs of /sys/class/accel, in the order of their addresses."""
    found = []
    for folder in entries(root / "sys/bus/pci/devices"):
        if (read_word(folder / "class") or "").startswith(_DISPLAY):
            found.append(_adapter(root, "gpu", folder))
    for entry in entries(root / "sys/class/accel", "accel*"):
        if read_word(entry / "device/vendor") is not None:
            found.append(_adapter(root, "npu", entry / "device"))
    if not any(each.kind == "gpu" for each in found):  # WSL and some boards have no PCI bus
        for card in entries(root / "sys/class/drm", "card?"):
            if read_word(card / "device/vendor") is not None:
                found.append(_adapter(root, "gpu", card / "device"))
    return tuple(each for each in found if each.vendor)


def _adapter(root: Path, kind: str, folder: Path) -> Adapter:
    return Adapter(
        kind=kind,
        vendor=(read_word(folder / "vendor") or "").lower(),
        device=(read_word(folder / "device") or "").lower(),
        driver=_driver(folder),
        source=f"/{folder.relative_to(root)}",
    )


def _driver(folder: Path) -> str | None:
    """Return the driver: a link in sysfs, and named in ``uevent``, which captures keep as text."""
    for line in read_text(folder / "uevent").splitlines():
        key, _, value = line.partition("=")
        if key == "DRIVER" and value:
            return value
    try:
        return (folder / "driver").readlink().name
    except OSError:
        return None
