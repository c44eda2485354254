"""The display of progress: what it says is read from what the trainings write, and there is one estimate of the time left."""

import json

import pytest

from fasnb.training.progress import EPOCHS_FILE, Bar, Display, Job, Lines, Watch, display_of, recorded, recorder


@pytest.fixture
def jobs(tmp_path):
    made = [
        Job(f"A fold {k} seed 7", tmp_path / str(k), "result.json", 4, 100.0, lambda k=k: f"told {k}") for k in (1, 2)
    ]
    for job in made:
        job.folder.mkdir()
    return made


class Kept(Display):
    def __init__(self):
        self.states = []

    def show(self, state):
        self.states.append(state)

    close = show


def test_epochs_and_losses_of_other_processes_are_seen(jobs):
    watch = Watch(jobs, Display())
    assert str(watch.state()) == "0 of 2 trainings done"
    for epoch in (1, 2):
        recorder(jobs[0].folder)({"epoch": epoch, "loss": 1 / epoch})
    state = watch.state()
    assert "0 of 2 trainings done; at work: epoch 2 of 4, loss 0.500" in str(state) and state.left > 0
    assert [row["loss"] for row in state.histories["A fold 1 seed 7"]] == [1.0, 0.5]


def test_the_time_left_counts_work_and_ends_with_it(jobs):
    watch = Watch(jobs, Display())
    watch.started -= 10  # seconds ago
    (jobs[0].folder / "result.json").write_text("{}")
    state = watch.state()
    assert state.done == 1 and state.latest == "told 1"
    assert state.left == pytest.approx(10, rel=0.05), "half of the work took ten seconds, so does the other half"
    assert str(state).count("left") == 1
    (jobs[1].folder / "result.json").write_text("{}")
    assert watch.state().left is None and str(watch.state()) == "2 of 2 trainings done; last: told 2"


def test_what_was_done_before_says_nothing_of_the_speed(jobs):
    recorder(jobs[0].folder)({"epoch": 3, "loss": 0.1})  # an interrupted training
    watch = Watch(jobs, Display())
    assert watch.state().left is None
    watch.started -= 10
    recorder(jobs[0].folder)({"epoch": 4, "loss": 0.1})
    assert watch.state().left == pytest.approx(40, rel=0.05), "one epoch of eight took ten seconds, four are left"


def test_a_half_written_line_and_an_epoch_trained_twice(tmp_path):
    assert recorded(tmp_path) == []
    rows = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 3, "lo'
    (tmp_path / EPOCHS_FILE).write_text(text)
    assert recorded(tmp_path) == [rows[0], rows[2]]


def test_the_display_sees_the_end_also_of_a_failure(jobs):
    kept = Kept()
    with pytest.raises(KeyboardInterrupt), Watch(jobs, kept):
        raise KeyboardInterrupt
    assert kept.states[-1].done == 0


def test_which_display(capsys):
    own = Kept()
    assert display_of(own) is own and isinstance(display_of(print), Lines) and type(display_of(False)) is Display
    bar = display_of(True)
    assert isinstance(bar, Bar)
    bar.bar.close()
