"""Label sets are read once, whatever order a message puts them in, and never mixed up."""

from dataclasses import replace

import pyarrow as pa

from streams.metering.labels import Interner, LabelReader
from streams.metering.layout import Registry
from tests.streams.metering.samples import Observation, Slice, Tenant, gpu_batch


def device(name: str, job: str = "") -> Observation:
    """A device on a node of its own."""
    return Observation("fir", "fir/a/0", name, 1000, slices=(Slice(tenant=Tenant(job=job)),), node=f"node of {name}")


def test_equal_labels_are_the_same_array() -> None:
    """Tick after tick nothing is looked up: the very same array tells that no label changed."""
    reader = LabelReader("fir", Interner(), Interner())
    first = reader.read(gpu_batch([device("a"), device("b")]))
    assert reader.read(gpu_batch([replace(device("a"), ts_ms=2000), replace(device("b"), power_w=3.0)])) is first


def test_only_rows_that_changed_get_another_number() -> None:
    """A new tenant of b is a new number for b's row; its return to the old one is the old number again."""
    reader = LabelReader("fir", Interner(), Interner())
    before = reader.read(gpu_batch([device("a"), device("b"), device("c")]))
    after = reader.read(gpu_batch([device("a"), device("b", "7"), device("c")]))
    assert (before == after).tolist() == [True, False, True]
    again = reader.read(gpu_batch([device("a"), device("b"), device("c")]))
    assert again.tolist() == before.tolist()


def test_numbers_follow_the_rows() -> None:
    """Another order, fewer rows, more rows: each device keeps its number."""
    reader = LabelReader("fir", Interner(), Interner())
    a, b, c = reader.read(gpu_batch([device("a"), device("b"), device("c")])).tolist()
    assert reader.read(gpu_batch([device("c"), device("b"), device("a")])).tolist() == [c, b, a]
    assert reader.read(gpu_batch([device("b")])).tolist() == [b]
    assert reader.read(gpu_batch([])).tolist() == []
    assert reader.read(gpu_batch([device("c"), device("a")])).tolist() == [c, a]


def test_a_dictionary_may_be_written_in_any_order() -> None:
    """The same labels under other dictionary codes are the same labels."""
    reader = LabelReader("fir", Interner(), Interner())
    batch = gpu_batch([device("a"), device("b")])
    before = reader.read(batch)
    turned = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array(["b", "a"]))
    position = batch.schema.get_field_index("device")
    assert reader.read(batch.set_column(position, batch.schema.field(position), turned)) is before


def test_clusters_are_kept_apart() -> None:
    """The same device name on two clusters is two devices."""
    registry = Registry()
    batch = gpu_batch([device("a")])
    fir, nibi = (registry.layout(cluster, registry.reader(cluster).read(batch), batch) for cluster in ("fir", "nibi"))
    assert fir.devices.tolist() != nibi.devices.tolist()
    assert set(fir.series.tolist()).isdisjoint(nibi.series.tolist())


def test_a_message_that_was_given_up_leaves_no_damage() -> None:
    """Rows that were numbered and never laid out do not shift the labels of those that come after."""
    registry = Registry()
    reader = registry.reader("fir")
    reader.read(gpu_batch([device("lost-1"), device("lost-2")]))
    batch = gpu_batch([device("a"), device("lost-2"), device("b")])
    layout = registry.layout("fir", reader.read(batch), batch)
    labels = [registry.labels[label] for label in layout.labels.tolist()]
    assert {label.device for label in labels} == {"a", "lost-2", "b"}
    assert all(label.node == f"node of {label.device}" for label in labels)
    assert layout.position[layout.first_row].tolist() == [0, 1, 2]
