"""What goes from a worker to the web processes: some deltas of one answer, numbered, and readable for us alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from accounts.encryption import seal_json, unseal_json
from jobs.streams import Delta


@dataclass(frozen=True, slots=True)
class Message:
    """`attempt`: which attempt of the job says it. `number`: how many messages of that attempt came before it.

    `frame`: what is said of the answer as a whole; nothing but in the first.
    """

    attempt: int
    number: int
    deltas: tuple[Delta, ...]
    frame: Mapping[str, Any] = field(default_factory=dict)


def channel_of(job_id: UUID) -> bytes:
    """Where the answer of a job is told."""
    return b"bursar:relay:" + job_id.hex.encode()


def sealed(job_id: UUID, message: Message) -> bytes:
    """The message as it is sent: as that of another job it cannot be read."""
    said = [[delta.choice, delta.message, delta.beside] for delta in message.deltas]
    return seal_json(_place(job_id), [message.attempt, message.number, said, message.frame])


def opened(job_id: UUID, told: bytes) -> Message:
    """The message that was sealed. Raises SecretUnreadable."""
    attempt, number, said, frame = unseal_json(_place(job_id), told)
    return Message(attempt, number, _deltas(said), frame)


def _deltas(said: Iterable[tuple[int, Mapping[str, Any], Mapping[str, Any]]]) -> tuple[Delta, ...]:
    return tuple(Delta(index, message, beside) for index, message, beside in said)


def _place(job_id: UUID) -> str:
    return f"relay.{job_id.hex}"
