"""Progress in a notebook: one line that says how far the trainings are, and their loss curves, which stay when they are done."""

import io
import time

from IPython import get_ipython
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from fasnb.lab.figures import COLUMN, label_of, method_colour
from fasnb.lab.tables import markdown_text
from fasnb.training.progress import Display, State

SECONDS = 3.0  # between two pictures


class Live(Display):
    """A line and a picture below the running cell, both replaced in place."""

    def __init__(self):
        self.text = self.picture = None
        self.drawn = 0.0

    def show(self, state: State, last: bool = False) -> None:
        sentence = Markdown(markdown_text(str(state)))
        if self.text is None:
            self.text = display(sentence, display_id=True)
        else:
            self.text.update(sentence)
        if state.histories and (last or time.monotonic() - self.drawn > SECONDS):
            self.drawn = time.monotonic()
            picture = Image(data=loss_curves(state.histories))
            if self.picture is None:
                self.picture = display(picture, display_id=True)
            else:
                self.picture.update(picture)

    def close(self, state: State) -> None:
        self.show(state, last=True)


def loss_curves(histories: dict[str, list[dict]]) -> bytes:
    """PNG of the loss against the epoch, one line a training, one colour a method. Draws without pyplot: any thread may."""
    fig = Figure(figsize=(COLUMN * 1.6, 2.0), layout="constrained")
    ax = fig.subplots()
    methods = list(dict.fromkeys(title.split(" fold ")[0] for title in histories))
    for title, rows in histories.items():
        name = title.split(" fold ")[0]
        colour, known = method_colour(name, methods.index(name)), label_of(name) in ax.get_legend_handles_labels()[1]
        epochs, losses = [row["epoch"] for row in rows], [row["loss"] for row in rows]
        ax.plot(epochs, losses, ".-", color=colour, lw=0.9, ms=3, label="_" if known else label_of(name))
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    if methods:
        fig.legend(frameon=False, loc="outside right upper", fontsize=7)
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=110)
    return file.getvalue()


def notebook_display() -> Display | bool:
    """``Live`` in a notebook's kernel, else True: a bar on the terminal."""
    return Live() if getattr(get_ipython(), "kernel", None) is not None else True


class Interrupted(KeyboardInterrupt):
    """A training that was stopped by hand; a notebook shows one line of it."""

    def __init__(self):
        super().__init__("interrupted; what was trained is kept, run the cell again to go on")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
