"""Names for runs that were given none: an adjective, an animal and a number."""

from __future__ import annotations

import secrets

_ADJECTIVES = (
    "able agile amber apt bold brave bright brisk calm careful clever crisp curious daring deft eager early "
    "fair fleet fluent gentle glad golden grand handy happy honest humble jolly keen kind lively loyal lucid "
    "lucky merry mighty modest neat nimble noble patient placid polite proud quick quiet rapid ready silent "
    "silver smart smooth sober solid spry stately steady sturdy subtle sunny swift tidy upbeat valiant vivid "
    "warm wise witty zesty"
)
_ANIMALS = (
    "ant auk bat bear bee boar bison bream carp cat chough cod colt condor conch coot crab crane crow deer "
    "dog dove duck eel elk ermine ewe falcon fawn finch fly fox frog gnat gnu goat goose grouse grub gull "
    "hare hawk hen heron hog horse ibex jay kite koi lamb lark lynx mare midge mink mole moose moth mouse "
    "mule newt otter owl ox panda perch pig pike pony quail ram raven ray rook seal shad shark sheep shrew "
    "shrike skink slug smelt snail snipe sow sparrow squid stag stork swan tern toad trout turtle vole wasp "
    "whale wolf worm wren yak zebra"
)


def random_run_name() -> str:
    """Return a name such as ``steady-otter-417``."""
    number = secrets.randbelow(900) + 100
    return f"{secrets.choice(_ADJECTIVES.split())}-{secrets.choice(_ANIMALS.split())}-{number}"
