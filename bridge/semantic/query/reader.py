"""Reader: goes along a question's tokens and says which of the vocabulary's phrases stand where it is."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.semantic.query.tokens import Token, Type
from bridge.semantic.query.vocabulary import LONGEST, PHRASES, Concept, Meaning


class Reader:
    """A place among tokens. `at` may be set back to try something else."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self._phrases = [_phrase(tokens, at) for at in range(len(tokens))]

    @property
    def done(self) -> bool:
        """Whether nothing but words that mean nothing is left; they are passed over."""
        self.skip()
        return self.at >= len(self.tokens)

    @property
    def token(self) -> Token | None:
        """The token here; None at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def value(self, *types: Type) -> Token | None:
        """The token here if it is of one of some types; it is passed."""
        token = self.token
        if token is None or token.type not in types:
            return None
        self.at += 1
        return token

    def skip(self) -> None:
        """Pass over words that mean nothing."""
        while self.at < len(self.tokens):
            words, meanings = self._phrases[self.at]
            if self.tokens[self.at].type is Type.POSSESSIVE:
                self.at += 1
            elif meanings and all(one.concept is Concept.STOP for one in meanings):
                self.at += words
            else:
                return

    def meaning(self, concept: Concept) -> Meaning | None:
        """What the phrase here means as such a concept; None where it does not."""
        if self.at >= len(self.tokens):
            return None
        return next((one for one in self._phrases[self.at][1] if one.concept is concept), None)

    def take(self, concept: Concept) -> Meaning | None:
        """The same; it is passed."""
        found = self.meaning(concept)
        if found is not None:
            self.at += self._phrases[self.at][0]
        return found

    def take_any(self, *concepts: Concept) -> bool:
        """Pass over phrases of these concepts, and words that mean nothing; whether there were any phrases."""
        before = self.at
        while any(self.take(concept) for concept in concepts):
            pass
        passed = self.at > before
        self.skip()
        return passed

    @property
    def is_known(self) -> bool:
        """Whether a phrase of the vocabulary stands here."""
        return self.at < len(self.tokens) and bool(self._phrases[self.at][1])

    def following(self) -> Token | None:
        """The token behind the phrase here."""
        after = self.at + max(self._phrases[self.at][0], 1) if self.at < len(self.tokens) else self.at
        return self.tokens[after] if after < len(self.tokens) else None


def _phrase(tokens: Sequence[Token], at: int) -> tuple[int, tuple[Meaning, ...]]:
    """The longest phrase that begins here, in words, and what it can mean."""
    words: list[str] = []
    for token in tokens[at : at + LONGEST]:
        if not token.word:
            break
        words.append(token.word)
    for count in range(len(words), 0, -1):
        if (meanings := PHRASES.get(tuple(words[:count]))) is not None:
            return count, meanings
    return 0, ()
