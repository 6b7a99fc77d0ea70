"""What this Linux runs in: a virtual machine, Windows (WSL), a container, or none of these."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from medge.profiles.device import first_cpu, flags_of
from medge.profiles.facts import Fact, Facts
from medge.profiles.kernel_files import ROOT, read_text, read_word

# What systemd-detect-virt knows machines by (systemd, src/basic/virt.c): DMI vendor or product.
VENDORS = {
    "QEMU": "KVM or QEMU",
    "KVM": "KVM or QEMU",
    "Amazon EC2": "Amazon EC2",
    "Google Compute Engine": "Google Compute Engine",
    "VMware": "VMware",
    "VMW": "VMware",
    "innotek GmbH": "VirtualBox",
    "VirtualBox": "VirtualBox",
    "Xen": "Xen",
    "Bochs": "Bochs",
    "Parallels": "Parallels",
    "BHYVE": "bhyve",
    "Hyper-V": "Hyper-V",
    "Virtual Machine": "Hyper-V",
    "Apple Virtualization": "Apple Virtualization",
}
_BARE_METAL = re.compile(r"\.metal(-|$)")  # of Amazon: the vendor is theirs, no hypervisor is

# Parts of a control group's path that container engines choose.
ENGINES = {
    "kubepods": "Kubernetes",
    "docker": "Docker",
    "libpod": "Podman",
    "containerd": "containerd",
    "lxc": "LXC",
    "machine.slice/systemd-nspawn": "systemd-nspawn",
}


def surroundings(root: Path = ROOT) -> Facts:
    """Return what kernel and system this is, and what they run in."""
    facts: Facts = {}
    facts.update(_system(root))
    for name, found in (
        ("wsl", _wsl(root)),
        ("hypervisor", _hypervisor(root, first_cpu(root))),
        ("container", _container(root)),
    ):
        if found is not None:
            facts[name] = found
    return facts


def _system(root: Path) -> Iterator[tuple[str, Fact]]:
    board = read_word(root / "proc/device-tree/model")
    if board is not None:
        yield "board", Fact(board, "", "/proc/device-tree/model")
    else:
        dmi = root / "sys/class/dmi/id"
        vendor, product = read_word(dmi / "sys_vendor"), read_word(dmi / "product_name")
        if product is not None:
            said = product if product.startswith(vendor or product) else f"{vendor} {product}"
            yield "board", Fact(said, "", "/sys/class/dmi/id/sys_vendor, product_name")
    release = os_release(root)
    if "PRETTY_NAME" in release:
        yield "system", Fact(release["PRETTY_NAME"], "", "/etc/os-release")
    version = re.match(r"Linux version (\S{1,128})", read_text(root / "proc/version"))
    if version:
        yield "kernel", Fact(version[1], "", "/proc/version")
    if root == ROOT:
        yield "architecture", Fact(platform.machine(), "", "uname(2)")


def os_release(root: Path = ROOT) -> dict[str, str]:
    """Return what a distribution says of itself (os-release(5))."""
    lines = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release")
    pairs = (line.partition("=") for line in lines.splitlines())
    return {key: value.strip("\"' ") for key, equals, value in pairs if equals}


def _wsl(root: Path) -> Fact | None:
    """Microsoft's kernels name it in their release: "...-Microsoft" is WSL 1, "...-WSL2" WSL 2."""
    version = re.match(r"Linux version (\S{1,128})", read_text(root / "proc/version"))
    if version is None or "microsoft" not in version[1].lower():
        return None
    second = "wsl2" in version[1].lower() or "microsoft-standard" in version[1]
    return Fact("WSL 2" if second else "WSL 1", "", "/proc/version")


def _hypervisor(root: Path, first: Mapping[str, str]) -> Fact | None:
    dmi = root / "sys/class/dmi/id"
    metal = _BARE_METAL.search(read_word(dmi / "product_name") or "") is not None
    for file in ("product_name", "sys_vendor", "board_vendor", "bios_vendor"):
        said = read_word(dmi / file) or ""
        for start, name in VENDORS.items():
            if said.startswith(start) and not metal:
                return Fact(name, "", f"/sys/class/dmi/id/{file}")
    if read_word(root / "sys/hypervisor/type") == "xen":
        return Fact("Xen", "", "/sys/hypervisor/type")
    tree = (read_word(root / "proc/device-tree/hypervisor/compatible") or "").split("\0")[0]
    if tree:
        return Fact(tree, "", "/proc/device-tree/hypervisor/compatible")
    if "hypervisor" in flags_of(first):
        return Fact("yes, unnamed", "", "/proc/cpuinfo flag hypervisor")
    return None


def _container(root: Path) -> Fact | None:
    told = read_word(root / "run/systemd/container")
    if told is not None:
        return Fact(told, "", "/run/systemd/container")
    groups = read_text(root / "proc/self/cgroup")
    for part, engine in ENGINES.items():
        if re.search(rf"[/:.-]{part}\b(?!\.service)", groups):  # which is the engine itself
            return Fact(engine, "", "/proc/self/cgroup")
    for file, engine in ((".dockerenv", "Docker"), ("run/.containerenv", "Podman")):
        if (root / file).exists():
            return Fact(engine, "", f"/{file}")
    return None
