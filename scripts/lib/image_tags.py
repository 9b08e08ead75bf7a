"""What an appliance runs from, remembered before other images are built in its place, and put back under its names.

Compose starts containers from tags (chatbot-proxy:local), and a build moves a tag. Whoever goes back to what was before
has to move it back, or the old settings would run in the new images. Nothing is built for that and nothing fetched: an
image that was replaced stays as former_images.py keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.lib import docker_daemon
from scripts.lib.failure import Failure
from scripts.lib.former_images import Former
from scripts.lib.images import Stamps, image_id

# Tag -> (inputs, id). A JSON of it gives lists, which do as well.
GONE = "image.former_gone"
# In a folder of stamps: what images were built from, and those that builds have replaced.
_BUILT, _FORMER = "images.json", "former-images.json"
Tags = Mapping[str, "tuple[str, str]"]


def remember() -> dict[str, tuple[str, str]]:
    """Tag -> (what it was built from, Docker's id), of all images that were built for this checkout and are there."""
    return Stamps().present()


def put_back(former: Tags) -> int:
    """Give the images that `remember` returned their tags again; how many tags had gone to others.

    What was built from what is known as it was then, so that the next `make up` builds nothing. The images that lose
    their tags are kept as those are that a build replaces. May be repeated. Failure `image.former_gone` names what
    could not be put back; all the others are.
    """
    moved, gone = 0, []
    stamps = Stamps()
    for tag, (inputs, image) in sorted(former.items()):
        replaced = image_id(tag)
        if replaced != image:
            if docker_daemon.ask("image", "tag", image, tag)[0] != 0:
                gone.append(tag)
                continue
            moved += 1
        stamps.put(tag, inputs, image)
    if gone:
        fact = f"of {', '.join(gone)} the image of before is gone, and the newer one is in its place"
        raise Failure(GONE, fact, "`make up` builds it as the settings have it")
    return moved


def note_vain(former: Tags, before: Path, since: Iterable[Path], noted: Path) -> None:
    """Have what was built since `remember` removed by the next `make up` or `make prune`, once it has no name.

    Comes before `put_back`, which takes the names: they tell of what a killed build left without a stamp. All places
    are folders of stamps: `before` as they were when `remember` was called, `since` those that builds have written
    since, `noted` where it is noted. What is noted already, or was there before, is not noted anew. May be repeated.
    """
    known = {image for _, image in former.values()} | Stamps(before / _BUILT).ids()
    built = {image_id(tag) for tag in former}
    for folder in since:
        built |= Stamps(folder / _BUILT).ids() | set(Former(folder / _FORMER).replaced)
    Former(noted / _FORMER).add_old(built - known - {""})
