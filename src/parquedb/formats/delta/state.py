"""The folded state of a log, with actions as they were recorded.

PROTOCOL.md, "Action Reconciliation". Files are known by the key that their path decodes to.
"""

from __future__ import annotations

from dataclasses import field

from parquedb.errors import FormatError
from parquedb.formats.delta.checkpoint import read_checkpoint
from parquedb.formats.delta.paths import Listing, commit_key, parse_data_path
from parquedb.formats.delta.wire import (
    Actions,
    Add,
    Domain,
    Metadata,
    Protocol,
    Remove,
    Txn,
    identity_of,
    parse_commit,
)
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(slots=True)
class LogState:
    """A table's actions while commits are applied to it: O(actions) a commit.

    Args:
        root: The store's root URI.
        folder: The table's folder.
        version: The newest version applied, -1 for none.
        protocol: The newest protocol.
        metadata: The newest metadata.
        live: Files of the table, by key.
        tombstones: Files removed, by key and the identity of their deletion vector.
        txns: Applications' progress, by application.
        domains: Metadata domains, by name.
    """

    root: str
    folder: str
    version: int = -1
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    live: dict[str, Add] = field(default_factory=dict)
    tombstones: dict[tuple[str, str | None], Remove] = field(default_factory=dict)
    txns: dict[str, Txn] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)

    def apply(self, version: int, actions: Actions) -> None:
        """Apply a commit or a checkpoint."""
        self.protocol = actions.protocol or self.protocol
        self.metadata = actions.metadata or self.metadata
        root, folder = self.root, self.folder
        for remove in actions.removes:
            key, identity = parse_data_path(root, folder, remove.path), identity_of(remove.vector)
            if key in self.live and identity_of(self.live[key].vector) == identity:
                del self.live[key]
            self.tombstones[key, identity] = remove
        for add in actions.adds:
            key = parse_data_path(root, folder, add.path)
            self.tombstones.pop((key, identity_of(add.vector)), None)
            self.live[key] = add
        for txn in actions.txns:
            self.txns[txn.app_id] = txn
        for domain in actions.domains:
            if domain.removed:
                self.domains.pop(domain.name, None)
            else:
                self.domains[domain.name] = domain
        self.version = version


def read_state(store: Store, folder: str, listing: Listing, version: int) -> LogState:
    """Read a table's state at a version from the nearest checkpoint and the commits after it.

    Raises:
        FormatError: A file of the log does not follow the specification.
    """
    state = LogState(store.root, folder)
    checkpoint = listing.checkpoint_before(version)
    first = listing.start
    if checkpoint is not None:
        state.apply(checkpoint.version, read_checkpoint(store, folder, checkpoint))
        first = checkpoint.version + 1
    for number in range(first, version + 1):
        state.apply(number, read_commit(store, folder, number))
    return state


def read_commit(store: Store, folder: str, version: int) -> Actions:
    """Read one commit file.

    Raises:
        FormatError: It does not follow the specification.
        NotFoundError: It does not exist (any more).
    """
    key = commit_key(folder, version)
    actions = parse_commit(store.get(key), key)
    if actions.removes and actions.adds:
        added = {(add.path, identity_of(add.vector)) for add in actions.adds}
        both = next((r for r in actions.removes if (r.path, identity_of(r.vector)) in added), None)
        if both is not None:
            raise FormatError(
                f"{key!r} both adds and removes {both.path!r}, in no order, and readers disagree "
                "on what that means; restore the table to an older version and expire this one",
                location=key,
                section="Add File and Remove File",
            )
    return actions
