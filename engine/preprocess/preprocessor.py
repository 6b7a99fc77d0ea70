"""The preprocessor of a bundle: plans are made once for each kind of frame and kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medge._native import Plan
from medge.engine.frames.frame import Colour, Frame, Lut, Meaning, Packing, Rescale, Stored
from medge.engine.manifest import ImageInput
from medge.engine.preprocess import display
from medge.engine.preprocess.census import (
    Census,
    check_ratio,
    float_constant_ratio,
    float_range,
)
from medge.engine.preprocess.display import Line, Table
from medge.engine.preprocess.fields import Map, Want, Word, plan_fields, word_of
from medge.engine.preprocess.place import Box, check_size, crop_box, place
from medge.engine.preprocess.voi import STATISTICS, Range, choose_voi
from medge.errors import InputError

_PLANS = 8  # kinds of frames whose plans are kept; a folder mixes few
_UNIT = Range(0.0, 1.0)


class Preprocessor:
    """Turns frames into tensors as one bundle asks; docs/preprocessing.md has the definitions.

    Not thread-safe: frames share scratch memory. ``build`` names one build of the kernels.
    """

    def __init__(self, spec: ImageInput, build: str = "") -> None:
        self._spec = spec
        self._build = build
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._meaning: Meaning | None = None
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)

    @property
    def wants_gray(self) -> bool:
        """Whether luminance is all that the bundle looks at."""
        return self._spec.colour == "gray"

    def prepare(self, frame: Frame, out: npt.NDArray[Any]) -> tuple[str, ...]:
        """Fill ``out`` with one frame.

        Parameters
        ----------
        frame
            Its stored values are only read, each once (twice when the VOI rule or
            ``max_constant_ratio`` looks at the pixels first).
        out
            One slot of a batch: shape and dtype of the spec, C-contiguous.

        Returns
        -------
        tuple of str
            Names of the steps that this file made necessary, in the order they act.

        Raises
        ------
        InputError
            The picture does not fit the bundle: ``photometric-not-accepted``, ``too-small``,
            ``constant``, ``voi-absent``, ``voi-window``, ``rescale``, ``array-dtype``.
        """
        if out.shape != self._spec.shape:
            raise ValueError(f"out has shape {out.shape}; expected {self._spec.shape}")
        values = frame.values
        if frame.meaning is not self._meaning or frame.dtype != self._dtype:
            self._meaning = None  # stays so when the new one is refused
            self._enter(frame.meaning, frame.dtype)
            self._meaning, self._dtype = frame.meaning, frame.dtype
        if not (self._looks or isinstance(values, np.ndarray)):
            values.pour(lambda fd, offset: self._plan.run_file(fd, offset, out))
            return self._steps
        stored = frame.stored
        if not stored.dtype.isnative:
            stored = _native(stored)
        if self._looks:
            self._look(frame.meaning, stored)
        self._plan.run(stored, out)
        return self._steps

    def _enter(self, meaning: Meaning, dtype: np.dtype[Any]) -> None:
        """Make ready for frames of one meaning."""
        spec = self._spec
        if meaning.photometric not in spec.accepts:
            raise InputError(
                "photometric-not-accepted",
                f"(0028,0004) Photometric Interpretation is {meaning.photometric}; the bundle "
                f"accepts {', '.join(spec.accepts)}. Convert the picture or choose another bundle.",
            )
        self._box, crop_steps = crop_box(spec.crop, meaning)
        check_size(self._box, spec.min_side)
        self._word = word_of(dtype, meaning.swapped)
        stretched = meaning.colour is Colour.GRAY and spec.voi.rule in STATISTICS
        self._looks = stretched or spec.max_constant_ratio < 1.0
        self._census = None
        if self._looks and self._word is not Word.F32:
            self._census = Census(meaning, 1 if meaning.packing is Packing.MONO else 3)
        if meaning.colour is Colour.GRAY:
            steps = self._enter_gray(meaning, stretched)
        else:
            steps = self._enter_colour(meaning)
        self._steps = steps + crop_steps

    def _enter_gray(self, meaning: Meaning, stretched: bool) -> tuple[str, ...]:
        """Set the display of gray frames, unless the pixels must be looked at first."""
        steps: tuple[str, ...] = ()
        if isinstance(meaning.modality, Lut):
            steps += ("modality-lut",)
        elif isinstance(meaning.modality, Rescale):
            steps += ("rescale",)
        if stretched:
            self._plan = self._plan_of(meaning, Map.LINE, Want.COLOUR)
            steps += (f"voi-{self._spec.voi.rule}",)
        elif self._word is Word.F32:
            self._check_float_voi()
            self._show(meaning, display.float_gray(_UNIT, meaning.inverted))
        else:
            target, step = choose_voi(self._spec.voi, meaning)
            self._show(meaning, display.gray(meaning, target))
            steps += (step,)
        steps += ("invert",) if meaning.inverted else ()
        return steps + (("padding",) if meaning.padding is not None else ())

    def _check_float_voi(self) -> None:
        if self._spec.voi.rule == "window":
            raise InputError(
                "array-dtype",
                "the bundle windows modality values, and float32 pictures are display values "
                "already. Pass integers.",
            )

    def _enter_colour(self, meaning: Meaning) -> tuple[str, ...]:
        """Set the display of colour frames, which is never windowed."""
        gray = self.wants_gray
        if meaning.palette is not None:
            table = display.palette(meaning, meaning.palette, gray)
            self._plan = self._plan_of(meaning, Map.TABLE if gray else Map.PALETTE, Want.COLOUR)
            self._plan.set_table(table.values)
            return ("palette", "luma") if gray else ("palette",)
        if meaning.colour is Colour.YBR_FULL and not gray:
            self._plan = self._plan_of(meaning, Map.YBR, Want.COLOUR)
            self._set_line(display.ybr(meaning), None)
            return ("ybr-to-rgb",)
        want = Want.COLOUR
        if gray:
            want = Want.LUMA if meaning.colour is Colour.RGB else Want.FIRST
        self._plan = self._plan_of(meaning, Map.LINE, want)
        line = display.colour(meaning) if self._word is not Word.F32 else Line(0.0, 1.0, 0.0)
        self._set_line(line, None)
        return ("luma",) if gray else ()

    def _look(self, meaning: Meaning, stored: Stored) -> None:
        """Refuse blank frames, and set the display that follows from the pixels."""
        most = self._spec.max_constant_ratio
        if self._census is not None:
            self._census.take(self._plan, stored)
            check_ratio(self._census.constant_ratio(), most)
        elif most < 1.0:
            planes = 1 if meaning.packing is Packing.MONO else 3
            check_ratio(float_constant_ratio(stored, planes), most)
        if meaning.colour is not Colour.GRAY or self._spec.voi.rule not in STATISTICS:
            return
        if self._census is not None:
            self._show(meaning, display.gray(meaning, self._census.range(self._spec.voi)))
        else:
            target = float_range(stored, self._spec.voi)
            self._show(meaning, display.float_gray(target, meaning.inverted))

    def _show(self, meaning: Meaning, shown: Line | Table) -> None:
        """Set the display of gray frames."""
        if isinstance(shown, Line):
            self._plan = self._plan_of(meaning, Map.LINE, Want.COLOUR)
            self._set_line(shown, meaning.padding)
        else:
            self._plan = self._plan_of(meaning, Map.TABLE, Want.COLOUR)
            self._plan.set_table(shown.values)

    def _set_line(self, line: Line, padding: tuple[int, int] | None) -> None:
        self._plan.set_line(line.base, line.scale, line.offset, padding)

    def _plan_of(self, meaning: Meaning, kind: Map, want: Want) -> Plan:
        """Return the plan for frames of this geometry, made when it is the first."""
        key = (
            *(self._word, kind, want, meaning.packing, meaning.rows, meaning.columns, self._box),
            *(meaning.bits_stored, meaning.high_bit, meaning.signed),
        )
        plan = self._plans.pop(key, None) or self._make(meaning, kind, want, self._box)
        self._plans[key] = plan  # the most recent is the last
        if len(self._plans) > _PLANS:
            del self._plans[next(iter(self._plans))]
        return plan

    def _make(self, meaning: Meaning, kind: Map, want: Want, box: Box) -> Plan:
        where = place(self._spec, box)
        fields, columns = plan_fields(
            self._spec, meaning, where, word=self._word, kind=kind, want=want
        )
        rows = where.rows
        return Plan(
            fields,
            (rows.first, rows.count, rows.weights),
            (columns.first, columns.count, columns.weights),
            self._build,
        )


def _native(stored: Stored) -> Stored:
    """View words of the other byte order as this machine's; the plan swaps them, floats here."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    return stored.view(stored.dtype.newbyteorder("="))
