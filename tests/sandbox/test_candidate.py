"""The candidate's side of the sandbox, in this process."""

import os
import signal

from kkwarm.verify.sandbox.inside.candidate import Candidate


class Interrupted(list[bytes]):
    """A list that an alarm interrupts just before it is cleared."""

    def __init__(self, candidate: Candidate, *items: bytes) -> None:
        super().__init__(items)
        self.candidate, self.alarms = candidate, 1

    def clear(self) -> None:
        if self.alarms:
            self.alarms -= 1
            self.candidate.on_alarm(signal.SIGALRM, None)
        super().clear()


def test_an_alarm_while_results_are_sent_does_not_send_them_twice() -> None:
    """On a busy machine the next alarm comes before the handler of the last one has ended."""
    reader, writer = os.pipe()
    try:
        candidate = Candidate(writer)
        candidate.calling = True
        candidate.pending = Interrupted(candidate, b"first ", b"second ")
        candidate.on_alarm(signal.SIGALRM, None)
        candidate.send(b"third")
        candidate.on_alarm(signal.SIGALRM, None)
        assert os.read(reader, 100) == b"first second third"
    finally:
        os.close(reader)
        os.close(writer)
