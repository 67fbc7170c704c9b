"""A run in its folder: what it has found, how it shows itself, and what can be done next."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from enas import config, draw, spaces
from enas.api.given import Costs, data_of, flat, objective_of
from enas.config import PRESETS, RetrainConfig, SearchConfig
from enas.cost import cost
from enas.errors import UserError
from enas.interrupts import Stopped
from enas.jobs.auditing import audit_is_due, with_audit
from enas.jobs.deriving import derived_folder, derived_from
from enas.jobs.doing import Job, work
from enas.jobs.targets import Config, Result, read_result, retrain_base
from enas.jobs.training import retraining, searching
from enas.retraining import MODEL, load_model
from enas.runs import RunFolder
from enas.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from enas.network import Network


class Run:
    """A search or a retraining in its folder; in a notebook it shows itself.

    Raises UserError where the folder holds no run. What needs a result raises it while there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        RunFolder(self.path).check_run()

    @property
    def finished(self) -> bool:
        return RunFolder(self.path).result.exists()

    @property
    def result(self) -> dict[str, Any]:
        """What the result file says."""
        return self._read().values

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was reported so far: a record an epoch, a generation or a finalist."""
        return RunFolder(self.path).records()

    @property
    def arch(self) -> Architecture:
        """The architecture that was found, or trained."""
        return self._read().arch

    @property
    def space(self) -> SearchSpace:
        """The space that it belongs to, at the size that was searched."""
        return self._read().space

    @property
    def text(self) -> str:
        """The architecture in its text form."""
        return spaces.to_text(self.space, self.arch)

    @property
    def costs(self) -> dict[str, int]:
        """Parameters and MACs of the network: as searched, or as trained."""
        values = self.result
        if "params" in values:
            return {name: values[name] for name in ("params", "macs")}
        counts = cost(self.space.graph(self.arch))
        return {"params": counts.params, "macs": counts.macs}

    def resume(self, progress: bool = True) -> Run:
        """Go on where the run stopped, to its end."""
        folder = RunFolder(self.path)
        if folder.steps("searches") is not None or folder.steps("run") is not None:
            raise UserError(f"{self.path} is of several runs; go on with enas search --resume, or enas run --resume")
        if self._trains():
            return _done(retraining, folder.config(RetrainConfig()), self.path, True, progress)
        return searched(folder.config(SearchConfig()), self.path, True, progress)

    def retrain(self, **more: Any) -> Run:
        """Train what was found from scratch: `enas.retrain` of this run."""
        preset, output = more.pop("preset", None), more.pop("output", None)
        progress, data = more.pop("progress", True), data_of(more.pop("data", None))
        return retrained(self.path, data, preset, output, progress, more)

    def derive(
        self,
        *,
        limit: Costs = None,
        target: Costs = None,
        output: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> Run:
        """Search again with the shared weights of this one, by other limits, targets or settings, as `enas derive`."""
        costs = {"objective": objective_of(limit, target)}

        def changed(begin: SearchConfig) -> SearchConfig:
            return config.update(config.update(begin, costs), settings)  # type: ignore[no-any-return]

        typed = {path: path for path in (*flat(settings), *flat(costs))}
        run_config = derived_from(self.path, changed, typed, other_costs=bool(limit or target))
        path = Path(output) if output is not None else derived_folder(self.path)
        return searched(run_config, path, False, progress)

    def network(self) -> Network:
        """The trained network, a torch module in evaluation mode: of a retraining, or of RUN/retrain of a search.

        It takes float images [N, C, H, W] of 0..1, channel by channel less `normalisation`'s mean, divided by its std.
        """
        network: Network = load_model(self._model())[0].eval()
        return network

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """Mean and std of each channel, that the trained network's images must be normalised with."""
        header = load_model(self._model())[1]
        return {name: header[name] for name in ("mean", "std")}

    def show(self, file: str | os.PathLike[str] | None = None) -> None:
        """Print what was found; in a notebook, show its picture too. file: where to draw it, .svg or .png."""
        if file is not None:
            draw.draw_architecture(self.space.sketches(self.arch), Path(file))
        shell = _notebook()
        if shell is not None:
            shell.display.display(self)
        else:
            print("\n".join(self._lines()))

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        text = f"<pre>{html.escape(repr(self))}</pre>"
        if not self.finished:
            return text
        picture = io.BytesIO()
        Image.fromarray(draw.pixels(draw.architecture_figure(self.space.sketches(self.arch)))).save(picture, "png")
        name, encoded = html.escape(self.text, quote=True), base64.b64encode(picture.getvalue()).decode()
        return f'{text}<img alt="{name}" src="data:image/png;base64,{encoded}">'

    def _lines(self) -> list[str]:
        if not self.finished:
            return [f"{self.path}: not finished, {len(self.records)} records; go on with resume()"]
        values, costs = self.result, self.costs
        lines = [f"{self.path}: {self.text}", *(f"  {line}" for line in self.space.describe(self.arch))]
        lines.append(f"{costs['params']:,} parameters, {costs['macs']:,} MACs")
        if values.get("test_accuracy") is not None:
            lines.append(f"test accuracy {values['test_accuracy']:.4f} on {values['test_images']:,} images")
        return lines

    def _read(self) -> Result:
        if not self.finished:
            raise UserError(f"{self.path} must be finished for this, but it has no result; go on with resume()")
        return read_result(self.path)

    def _model(self) -> Path:
        found = [folder / MODEL for folder in (self.path, self.path / "retrain") if (folder / MODEL).exists()]
        if not found:
            raise UserError(f"{self.path} must have a trained network, but it has none; call retrain() first")
        return found[0]

    def _trains(self) -> bool:
        """Whether this is a retraining."""
        return RunFolder(self.path).kind == "retrain"


def searched(run_config: SearchConfig, path: Path, resuming: bool, progress: bool) -> Run:
    """The run of a search that is begun or continued in the folder."""
    run = _done(searching, run_config, path, resuming, progress)
    with _interruptible(path):
        with_audit(path, run.result, progress)
    return run


def retrained(
    what: str | os.PathLike[str],
    data: Mapping[str, Any],
    preset: str | None,
    output: str | os.PathLike[str] | None,
    progress: bool,
    settings: Mapping[str, Any],
) -> Run:
    """The run of a training of what a search found, or of an architecture."""
    if preset is not None and preset not in PRESETS:
        raise UserError(f"preset must be one of {', '.join(PRESETS)}, but got {preset!r}")
    base, default = retrain_base(os.fspath(what), None, preset)
    run_config = config.update(config.update(base, settings), {"data": data})
    config.check(run_config)
    return _done(retraining, run_config, default if output is None else Path(output), False, progress)


def _done(job: Job[Config], run_config: Config, path: Path, resuming: bool, progress: bool) -> Run:
    with _interruptible(path):
        work(job, run_config, path, resuming=resuming, shown=progress)
    return Run(path)


@contextlib.contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    """Say how to go on where the work is interrupted."""
    try:
        yield
    except Stopped as error:
        done = RunFolder(path).result.exists() and not audit_is_due(path)
        more = "the run is finished" if done else f"the state is saved; go on with enas.load({str(path)!r}).resume()"
        raise KeyboardInterrupt(f"{error}: {more}") from None


def _notebook() -> Any:
    """IPython, where this runs in a notebook."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return shell if running is not None and type(running).__name__ == "ZMQInteractiveShell" else None
