"""The contract of a model registry: every sentence of ``trackbridge.ports.registry``."""

from __future__ import annotations

from trackbridge.testing.contracts.registry_concurrency import RegistryConcurrencyTests
from trackbridge.testing.contracts.registry_deletion import DeletionTests
from trackbridge.testing.contracts.registry_history import HistoryTests
from trackbridge.testing.contracts.registry_hostile import RegistryHostileTests
from trackbridge.testing.contracts.registry_labels import LabelTests
from trackbridge.testing.contracts.registry_models import ModelTests
from trackbridge.testing.contracts.registry_versions import VersionTests


class RegistryContract(
    ModelTests,
    VersionTests,
    LabelTests,
    HistoryTests,
    DeletionTests,
    RegistryHostileTests,
    RegistryConcurrencyTests,
):
    """Bind it with a fixture ``adapter`` that returns an opened, empty adapter with a registry port.

    A version needs a payload that is there. The suite puts one file into ``adapter.artifacts`` and gives
    ``bridge-artifacts:/<run id>/model`` as the source; where payloads lie elsewhere, the binding has a method
    ``new_source(self) -> str`` that makes another payload each time and returns its address. Where a registry
    is emptied without its payloads, a fixture ``kept_source`` that returns the address of one saves the tests
    that need no other the time to make it.

    What the suite demands, for whoever writes an adapter:

    Names
        A model is found by its exact name. A registry that cannot hold a name refuses it with ``Rejected``;
        it never changes one, and never mistakes one model for another. A version is a decimal number as text,
        without leading zeros; any other text is ``NotFound``. Listings are ordered by code point (models) and
        by number, not by text (versions: 10 comes before 9). Every listing is paged with tokens bound to it.

    Creation
        The key makes ``create_version`` repeatable. Whoever's service has no such thing stores the key with
        the version (a tag under ``bridge.``) and looks for it first; two calls at once must still give one
        version, and calls with different keys different numbers. A repetition returns the version as it
        stands now and changes nothing, whatever else the second call says; another source or digest is
        ``Conflict``. The source is looked up where the adapter can see it; one that is not there is
        ``NotFound`` and leaves neither a version nor a taken key. ``origin``, ``run_id``, ``datasets``,
        ``description`` and ``tags`` come back exactly, also from services without such fields.

    Changes
        Tags of one call are all set or none. A write that changes nothing leaves times and history alone.
        An alias points at one version; model, version and listings agree about that at every moment. What a
        service calls otherwise (a stage that is a tag there, an approval status) is mapped and comes back as
        it was given. Tags that an adapter needs for itself start with ``bridge.``; the suite ignores those.

    Deletion
        Deleting what is absent succeeds. A number or a key is never free again, not even when the model was
        deleted and created anew. The payload is left alone.

    History
        One entry for each tag, alias, stage, approval and description that changed, with who, when, from, to
        and why; ``created`` has no ``before``, ``deleted`` no ``after``. What is given at creation belongs to
        ``created`` and has no entries of its own. An empty description is nothing (None), an empty tag is "".
        An alias that moves has an entry at the version that it leaves and one at that which it comes to, both
        with the same ``before`` and ``after``. A deletion notes the aliases that it removes, and of a model
        also its versions. Sequences grow; times never go back. Deletion deletes no history.

    Texts
        Unicode in any form, quotes, SQL, markup, control characters, newlines, NUL and very long texts, in
        names, keys, tags, descriptions, reasons and origins, are kept exactly or refused with ``Rejected``
        as a whole; a refused call changes nothing. Plain tags of up to 256 characters must be held.

    Optional features are ``registry.description``, ``alias``, ``stage``, ``approval``, ``history`` and
    ``delete``; one that is not declared raises ``Unsupported`` with its reason. A description that is given
    at creation is kept in any case. That another process sees what was written, also after a crash, is played
    by ``RegistryStateMachine``.
    """
