"""NetApp's own Python client at work: reads an order in JSON, prints what it found. Runs in an environment of its own.

{"host": ..., "port": ..., "user": ..., "do": "list" | "make" | "remove", "label": ...}
"""

import json
import os
import sys

from netapp_ontap import HostConnection, config
from netapp_ontap.resources import IscsiService, Lun, LunMap, Snapshot, Volume

order = json.load(sys.stdin)
config.CONNECTION = HostConnection(
    order["host"],
    port=order["port"],
    username=order["user"],
    password=os.environ["ONTAP_PASSWORD"],
    poll_interval=1,
)
SVM, VOLUME, IGROUP = "svm1", "vol1", "proxies"
label = order["label"]
clone = f"/vol/{VOLUME}/{label}"


def snapshots() -> list:
    """The snapshots of the volume with the label."""
    volume = Volume.find(name=VOLUME, **{"svm.name": SVM})
    return list(Snapshot.get_collection(volume.uuid, name=label, fields="uuid,name,volume"))


def luns() -> list:
    """The clone, if it is there."""
    return list(Lun.get_collection(name=clone, fields="uuid,name,svm", **{"svm.name": SVM}))


def maps() -> list:
    """The clone's mappings to our group."""
    asked = {"lun.name": clone, "svm.name": SVM, "igroup.name": IGROUP}
    return list(LunMap.get_collection(fields="logical_unit_number,igroup,lun,svm", **asked))


def make() -> None:
    """Snapshot the volume, clone the LUN out of it, map the clone."""
    volume = Volume.find(name=VOLUME, **{"svm.name": SVM})
    Snapshot(volume.uuid, name=label).post(poll=True)
    source = f"/vol/{VOLUME}/.snapshot/{label}/lun1"
    Lun.from_dict({"svm": {"name": SVM}, "name": clone, "clone": {"source": {"name": source}}}).post(poll=True)
    LunMap.from_dict({"svm": {"name": SVM}, "lun": {"name": clone}, "igroup": {"name": IGROUP}}).post(poll=True)


def remove() -> None:
    """Undo that."""
    for found in maps():
        found.delete(poll=True)
    for found in luns():
        found.delete(poll=True)
    for found in snapshots():
        found.delete(poll=True)


if order["do"] == "make":
    make()
elif order["do"] == "remove":
    remove()
json.dump(
    {
        "snapshots": [found.name for found in snapshots()],
        "luns": [found.name for found in luns()],
        "numbers": [found.logical_unit_number for found in maps()],
        "targets": [found.target.name for found in IscsiService.get_collection(fields="target", **{"svm.name": SVM})],
    },
    sys.stdout,
)
