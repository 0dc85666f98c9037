"""Which of many answers say something new of the rate limits. Pure: turns and headers go in, words come out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import pack

from jobs.limiter.buckets import Bucket, Turn
from jobs.stated_limits import Statement, statements


@dataclass(frozen=True, slots=True)
class Word:
    """What one answer said of one limit, and what we had taken of it when its call had its turn.

    `taken_then` is -1 where other turns that were given before come after it: then it speaks of the limit only.
    `room` and `late_us`: what calls could still have taken at the instant of its turn, and how much later it was sent.
    """

    bucket: Bucket
    said: Statement
    given_us: int
    sent_us: int
    taken_then: int
    room: float
    late_us: int

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The one that tells what is used goes before one that does not, then the newer one, then the one of more."""
        return self.taken_then >= 0, self.sent_us, self.said.used

    def packed(self) -> bytes:
        """As the script of correction reads it, but for the name."""
        bucket, said = self.bucket, self.said
        ours = (self.taken_then, self.room, self.late_us)
        return pack(">9d", bucket.limit, bucket.window_ms, self.given_us, self.sent_us, said.limit, said.used, *ours)


def words_of(
    answers: Iterable[tuple[Turn, Mapping[str, str], int]],
) -> dict[tuple[str, str], dict[str, Word]]:
    """Of each account and family, the word that counts of each limit, by the name of its bucket."""
    families: dict[tuple[str, str], dict[str, Word]] = {}
    for turn, headers, sent_us in answers:
        said = {statement.name: statement for statement in statements(headers)}
        given_us, starts_us = turn.instants_us
        for bucket, (taken, is_latest), room in zip(turn.buckets, turn.counts, turn.room, strict=True):
            if bucket.stated_as not in said:
                continue
            taken_then = taken if is_latest else -1
            late_us = max(0, sent_us - starts_us)
            word = Word(bucket, said[bucket.stated_as], given_us, sent_us, taken_then, room, late_us)
            words = families.setdefault((turn.account, turn.family), {})
            if bucket.name not in words or words[bucket.name].rank < word.rank:
                words[bucket.name] = word
    return families
