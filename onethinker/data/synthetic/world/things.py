"""The things of the world: what they are called, what they are, and which of them training never shows."""

from dataclasses import dataclass

COLORS: dict[str, tuple[int, float, float]] = {
    "red": (0, 0.8, 0.9),
    "orange": (27, 0.9, 0.98),
    "yellow": (51, 0.85, 0.98),
    "green": (128, 0.65, 0.7),
    "blue": (216, 0.75, 0.92),
    "purple": (280, 0.6, 0.78),
}
"""Colours that a thing can be given: hue in degrees, least saturation and mean value of its coloured parts."""

STYLES = ("noto", "fluent", "twemoji", "openmoji")
TRAINING_STYLES = ("noto", "fluent")
UNSEEN_STYLES = ("twemoji", "openmoji")
"""Drawing styles: training sees the first two only, the last two are kept for tests."""


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    `icon` is its name in the icon sets. No two kinds of one `kin` are ever in one scene: the name of one could be said
    of the other.
    """

    name: str
    plural: str
    category: str
    icon: str
    kin: str
    is_tintable: bool
    is_unseen: bool


_TABLE: dict[str, str] = {
    "animal": (
        """cat=cat-face dog=dog-face horse cow pig sheep=ewe rooster duck bird owl penguin fish shark octopus crab
        lobster snail butterfly bee=honeybee ladybug=lady-beetle spider turtle snake crocodile frog rabbit mouse
        squirrel=chipmunk elephant giraffe zebra camel kangaroo monkey tiger deer bat swan flamingo peacock
        dinosaur=sauropod lion bear panda fox koala"""
    ),
    "vehicle": (
        """car=automobile bus train=locomotive bicycle airplane taxi truck=delivery-truck tractor motorcycle
        fire_truck=fire-engine helicopter rocket ship sailboat tram=tram-car skateboard ufo=flying-saucer"""
    ),
    "food": (
        """apple=red-apple banana pizza bread cheese=cheese-wedge egg carrot pepper=hot-pepper mushroom watermelon
        pineapple pear strawberry avocado eggplant croissant burger=hamburger hotdog=hot-dog donut=doughnut cookie
        cake=birthday-cake ice_cream=soft-ice-cream cupcake"""
    ),
    "tool": """hammer wrench axe key lock=locked knife=kitchen-knife bucket broom pencil ladder magnet""",
    "instrument": """guitar drum trumpet accordion""",
    "clothing": """crown shirt=t-shirt dress shoe=running-shoe boot=womans-boot scarf helmet=rescue-workers-helmet""",
    "person": """baby cook astronaut policeman=police-officer firefighter princess santa=santa-claus ninja""",
    "plant": (
        """tree=deciduous-tree flower=hibiscus sunflower tulip cactus palm=palm-tree pine=evergreen-tree
        leaf=maple-leaf"""
    ),
    "building": """house castle church hospital tower=tokyo-tower ferris_wheel=ferris-wheel tent""",
    "other": (
        """cup=hot-beverage umbrella book=closed-book candle bulb=light-bulb clock=alarm-clock phone=telephone camera
        television radio laptop ball=soccer-ball basketball balloon kite gift=wrapped-gift bag=handbag backpack
        chair bed couch=couch-and-lamp toilet box=package envelope bottle=bottle-with-popping-cork teapot anchor
        trophy teddy=teddy-bear robot ghost globe=globe-showing-americas telescope diamond=gem-stone
        flag=triangular-flag suitcase=luggage dice=game-die heart=red-heart hourglass=hourglass-done
        mailbox=closed-mailbox-with-raised-flag target=bullseye sun moon=crescent-moon star cloud rainbow snowflake
        snowman=snowman-without-snow fire volcano"""
    ),
}
_PLURALS = {
    "sheep": "sheep",
    "fish": "fish",
    "dice": "dice",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "octopus": "octopuses",
    "policeman": "policemen",
    "ufo": "ufos",
}
_KIN = (
    "bird rooster duck owl penguin swan flamingo peacock",
    "fish shark",
    "horse zebra",
    "car taxi",
    "truck fire_truck",
    "train tram",
    "ship sailboat",
    "bicycle motorcycle",
    "cake cupcake",
    "tree palm pine",
    "flower sunflower tulip",
    "ball basketball",
    "crown helmet",
    "shoe boot",
    "bag backpack suitcase",
    "cat tiger lion",
    "dog fox",
    "bear panda koala teddy",
    "bee ladybug",
    "shirt dress",
    "house castle church hospital",
    "fire volcano candle",
    "star sun",
    "box gift",
)
_TINTABLE = """car bus umbrella book balloon dress backpack bucket scarf phone bird fish heart flag boot bag couch
    suitcase flower tulip dinosaur octopus guitar helmet motorcycle tractor tent"""
_UNSEEN = """owl crab giraffe camel bat kangaroo panda snail swan turtle
    helicopter tram skateboard
    strawberry pineapple cheese burger cupcake
    axe trumpet boot
    astronaut cactus castle
    robot anchor kite snowman telescope globe"""


def _plural(name: str) -> str:
    if name in _PLURALS:
        return _PLURALS[name]
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") and name[-2] not in "aeiou" else f"{name}s"


def _read_table() -> dict[str, Kind]:
    kin = {name: group.split()[0] for group in _KIN for name in group.split()}
    tintable, unseen = _TINTABLE.split(), _UNSEEN.split()
    kinds = {}
    for category, entries in _TABLE.items():
        for entry in entries.split():
            key, _, icon = entry.partition("=")
            name = key.replace("_", " ")
            kinds[name] = Kind(
                name, _plural(name), category, icon or key, kin.get(key, key), key in tintable, key in unseen
            )
    return kinds


KINDS_OF_THINGS: dict[str, Kind] = _read_table()
"""Every kind by its name."""
SEEN = tuple(kind for kind in KINDS_OF_THINGS.values() if not kind.is_unseen)
UNSEEN = tuple(kind for kind in KINDS_OF_THINGS.values() if kind.is_unseen)
"""What training may show, and what it never does."""
CATEGORIES = {"animal": "animals", "vehicle": "vehicles", "food": "foods", "building": "buildings", "person": "people"}
"""Categories that questions ask about, with their plural: those on whose members everyone agrees."""


def with_article(name: str) -> str:
    """Return a name with "a" or "an" before it.

    >>> with_article("orange fish"), with_article("ufo"), with_article("bread")
    ('an orange fish', 'a ufo', 'some bread')
    """
    if name == "bread":
        return "some bread"
    return f"{'an' if name[0] in 'aeio' or name.startswith(('umb', 'hour')) else 'a'} {name}"
