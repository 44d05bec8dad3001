# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images: layouts, pairs, and everything that is not read is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgbd_seg_ros.image_folder import FolderFrames, ImageFolderError, find_frames
from rgbd_seg_ros.image_names import BY_NUMBER, MAX_STAMP_DIFFERENCE_NS, match_names, stamp_ns


def make(root: Path, *files: str) -> Path:
    """Empty files below ``root``; only their names matter here."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def frames_of(found: FolderFrames) -> dict[str, tuple[str, ...]]:
    """Name of each frame → its files below the root, in the order of ``files``."""
    return {
        name: tuple(
            files[name].relative_to(found.root).as_posix()
            for files in found.files.values()
            if name in files
        )
        for name in found.names
    }


LAYOUTS = {
    "prepared": (
        ["rgb/a.png", "depth/a.png", "labels/a.png", "dataset.yaml", "train.txt", "card.png"],
        {"a": ("rgb/a.png", "depth/a.png", "labels/a.png")},
    ),
    "cmx": (
        ["RGB/10.jpg", "Depth/10.png", "Label/10.png", "RGB/9.jpg", "Depth/9.png", "Label/9.png"],
        {
            "9": ("RGB/9.jpg", "Depth/9.png", "Label/9.png"),
            "10": ("RGB/10.jpg", "Depth/10.png", "Label/10.png"),
        },
    ),
    "scannet": (
        ["color/0.jpg", "depth/0.png", "label-filt/0.png", "pose/0.txt"],
        {"0": ("color/0.jpg", "depth/0.png", "label-filt/0.png")},
    ),
    "7-scenes": (
        [
            "frame-000001.color.png",
            "frame-000001.depth.png",
            "frame-000001.pose.txt",
            "Thumbs.db",
            ".DS_Store",
            "._frame-000001.color.png",
        ],
        {"frame-000001": ("frame-000001.color.png", "frame-000001.depth.png")},
    ),
    "color without a word": (
        ["0001.jpg", "0001_depth.npy", "0001_depth_mask.npy", "0002.jpg", "0002_depth.npy"],
        {"0001": ("0001.jpg", "0001_depth.npy"), "0002": ("0002.jpg", "0002_depth.npy")},
    ),
    "words in names of folders": (
        ["image_2/5.png", "sensor_depth/5.png", "semantic/5.png", "pose/5.txt"],
        {"5": ("image_2/5.png", "sensor_depth/5.png", "semantic/5.png")},
    ),
    "realsense": (
        ["aligned_depth_to_color_7.png", "color_7.png"],
        {"7": ("color_7.png", "aligned_depth_to_color_7.png")},
    ),
    "masks beside depth": (
        ["rgb/7.png", "depth/7_depth.npy", "depth/7_mask.npy"],
        {"7": ("rgb/7.png", "depth/7_depth.npy")},
    ),
    "one pair": (["rgb.png", "depth.png"], {"rgb": ("rgb.png", "depth.png")}),
    "words in names": (
        ["rgb/rgb_0001.png", "depth/depth_0001.png", "gt/0001_label.png"],
        {"0001": ("rgb/rgb_0001.png", "depth/depth_0001.png", "gt/0001_label.png")},
    ),
    "numbers": (
        ["images/img_12.jpg", "depth/d0012.png", "images/img_7.jpg", "depth/d0007.png"],
        {
            "img_7": ("images/img_7.jpg", "depth/d0007.png"),
            "img_12": ("images/img_12.jpg", "depth/d0012.png"),
        },
    ),
    "tum": (
        [
            "rgb/1305031102.175304.png",
            "rgb/1305031102.211214.png",
            "depth/1305031102.160407.png",
            "depth/1305031102.226738.png",
        ],
        {
            "1305031102.175304": ("rgb/1305031102.175304.png", "depth/1305031102.160407.png"),
            "1305031102.211214": ("rgb/1305031102.211214.png", "depth/1305031102.226738.png"),
        },
    ),
    "sun rgb-d": (
        ["a/image/5.jpg", "a/depth/x.png", "b/image/6.jpg", "b/depth/6.png", "a/depth_bfx/5.png"],
        {"a": ("a/image/5.jpg", "a/depth/x.png"), "b": ("b/image/6.jpg", "b/depth/6.png")},
    ),
    "scenes": (
        ["s1/color/0.png", "s1/depth/0.png", "s1/color/1.png", "s1/depth/1.png", "s1/x.txt"],
        {
            "s1_0": ("s1/color/0.png", "s1/depth/0.png"),
            "s1_1": ("s1/color/1.png", "s1/depth/1.png"),
        },
    ),
    "voc": (
        ["JPEGImages/1.jpg", "Depth/1.png", "SegmentationClassPNG/1.png"],
        {"1": ("JPEGImages/1.jpg", "Depth/1.png", "SegmentationClassPNG/1.png")},
    ),
    "kitti": (
        ["image_2/000001.png", "depth_maps/000001.png", "semantics/000001.png"],
        {"000001": ("image_2/000001.png", "depth_maps/000001.png", "semantics/000001.png")},
    ),
    "stanford 2d-3d-s": (
        ["rgb/a_frame_0_rgb.png", "depth/a_frame_0_depth.png", "semantic/a_frame_0_semantic.png"],
        {
            "a_frame_0": (
                "rgb/a_frame_0_rgb.png",
                "depth/a_frame_0_depth.png",
                "semantic/a_frame_0_semantic.png",
            )
        },
    ),
    "nyu": (
        ["nyu_images/0.jpg", "nyu_depths/0.png", "nyu_labels40/0.png"],
        {"0": ("nyu_images/0.jpg", "nyu_depths/0.png", "nyu_labels40/0.png")},
    ),
    "nyu in another case": (
        ["NYU_Images/0.jpg", "NYU_Depth/0.png", "NYU_Label/0.png"],
        {"0": ("NYU_Images/0.jpg", "NYU_Depth/0.png", "NYU_Label/0.png")},
    ),
    "cityscapes": (
        ["leftImg8bit/a_1_leftImg8bit.png", "depth/a_1.png", "gtFine/a_1_gtFine_labelIds.png"],
        {
            "a_1": (
                "leftImg8bit/a_1_leftImg8bit.png",
                "depth/a_1.png",
                "gtFine/a_1_gtFine_labelIds.png",
            )
        },
    ),
    "gtfine in another case": (
        ["RGB/0.png", "DEPTH/0.png", "GTFINE/0.png"],
        {"0": ("RGB/0.png", "DEPTH/0.png", "GTFINE/0.png")},
    ),
    "mmsegmentation": (
        ["img_dir/train/0.jpg", "depth_dir/train/0.png", "ann_dir/train/0.png"],
        {"train_0": ("img_dir/train/0.jpg", "depth_dir/train/0.png", "ann_dir/train/0.png")},
    ),
    "masks beside color": (
        ["train/0.jpg", "train/0_mask.png", "train/0_depth.png"],
        {"train": ("train/0.jpg", "train/0_depth.png", "train/0_mask.png")},
    ),
    "plurals": (
        ["Imgs/0.jpg", "Depths/0.png", "GTs/0.png"],
        {"0": ("Imgs/0.jpg", "Depths/0.png", "GTs/0.png")},
    ),
    # Such a folder is a scene, although its own name speaks of color.
    "rgb-d": (
        ["RGB-D/rgb/0.png", "RGB-D/depth/0.png"],
        {"RGB-D": ("RGB-D/rgb/0.png", "RGB-D/depth/0.png")},
    ),
    "a scene named images": (
        ["images/rgb/0.png", "images/depth/0.png"],
        {"images": ("images/rgb/0.png", "images/depth/0.png")},
    ),
    "subfolders of one kind": (
        ["images/train/0.png", "images/val/0.png", "depth/train/0.png", "depth/val/0.png"],
        {
            "train_0": ("images/train/0.png", "depth/train/0.png"),
            "val_0": ("images/val/0.png", "depth/val/0.png"),
        },
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    files, expected = LAYOUTS[layout]
    found = find_frames(make(tmp_path, *files))
    assert frames_of(found) == expected
    assert list(found.complete) == list(expected)
    assert not found.unpaired


def test_associations_decide_before_names(tmp_path: Path) -> None:
    make(tmp_path, "rgb/1.png", "rgb/2.png", "depth/1.png", "depth/2.png")
    text = "# depth, color\n0.1 depth/2.png 0.1 rgb/1.png\r\n0.2 depth/1.png 0.2 rgb/2.png\r\n"
    (tmp_path / "associations.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = find_frames(tmp_path)
    assert found.pairing == "associations.txt"
    assert frames_of(found) == {
        "1": ("rgb/1.png", "depth/2.png"),
        "2": ("rgb/2.png", "depth/1.png"),
    }


def test_lists_give_the_stamps_of_files_without_one(tmp_path: Path) -> None:
    make(tmp_path, "rgb/a.png", "rgb/b.png", "depth/x.png", "depth/y.png")
    (tmp_path / "rgb.txt").write_text("10.00 rgb/a.png\n10.10 rgb/b.png\n")
    (tmp_path / "depth.txt").write_text("# stamp file\n10.115 depth/x.png\n9.995 depth/y.png\n")
    assert frames_of(find_frames(tmp_path)) == {
        "a": ("rgb/a.png", "depth/y.png"),
        "b": ("rgb/b.png", "depth/x.png"),
    }


def test_unpaired_files_are_told(tmp_path: Path) -> None:
    make(tmp_path, *(f"rgb/{i}.png" for i in range(6)), "depth/0.png", "depth/7.png")
    found = find_frames(tmp_path)
    assert found.names == ("0", "1", "2", "3", "4", "5", "7")
    assert found.complete == ("0",)
    assert found.unpaired[tmp_path / "rgb/1.png"] == "there is no depth image of this frame"
    assert found.notes == (
        "5 of 6 color images have no depth image: rgb/1.png, rgb/2.png, rgb/3.png and 2 more",
        "1 of 2 depth images has no color image: depth/7.png",
    )


def test_files_that_are_not_read_are_told_and_litter_is_not(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "depth/0.png", "depth/1.xyz", "depth/2.xyz", "HHA/0.png")
    make(tmp_path, "rgb/._0.png", "rgb/Thumbs.db", "depth/.DS_Store", "depths/0.png")
    (tmp_path / "rgb/9.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "depth/8.png")
    found = find_frames(tmp_path)
    assert found.names == ("0",)
    assert sorted(found.notes) == [
        "not read: HHA/ (HHA is computed from the depth images)",
        "not read: depth/1.xyz, depth/2.xyz (the suffix .xyz is not supported)",
        "not read: depth/8.png (not a regular file)",
        "not read: depths/ (depth/ is read instead; to choose, rename one (or pass --depth DIR to "
        "predict))",
        "not read: rgb/9.png (a link to a missing file)",
    ]


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    make(tmp_path, "store/a.png", "store/b.png", "rgb/x", "depth/x")
    (tmp_path / "rgb/0.png").symlink_to(tmp_path / "store/a.png")
    (tmp_path / "depth/0.png").symlink_to(tmp_path / "store/b.png")
    assert find_frames(tmp_path).complete == ("0",)


def test_chosen_folders_may_have_any_name_and_place(tmp_path: Path) -> None:
    make(tmp_path, "in/left/0.png", "elsewhere/z/0.png", "in/depth/1.png")
    found = find_frames(tmp_path / "in", rgb=Path("left"), depth=tmp_path / "elsewhere/z")
    assert found.complete == ("0",)
    assert found.folders["depth"] == (tmp_path / "elsewhere/z",)


def test_a_folder_that_may_hold_the_missing_depth_is_named(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "disparity/0.png")
    assert find_frames(tmp_path).notes == (
        "there are no depth images; if disparity/ contains them, rename it to depth or depths",
    )


def test_several_folders_of_unusual_names_are_not_guessed_at(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "depth_left/0.png", "depth_right/0.png")
    message = r"several folders could hold depth images: depth_left/, depth_right/; rename one"
    with pytest.raises(ImageFolderError, match=message):
        find_frames(tmp_path)


def test_the_left_images_of_a_stereo_camera_are_read(tmp_path: Path) -> None:
    make(tmp_path, *(f"{kind}_{side}/0.png" for kind in ("image", "depth") for side in SIDES))
    found = find_frames(tmp_path)
    assert frames_of(found) == {"0": ("image_left/0.png", "depth_left/0.png")}
    assert found.notes == (
        "not read: image_right/, depth_right/ (the left image of the stereo pair is read)",
    )


SIDES = ("left", "right")


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        (["instance/0.png", "normals/0.png"], "instance/, normals/"),
        (["disparity/train/aachen/0.png"], "disparity/"),
        (["SegmentationObject/0.png"], "SegmentationObject/"),
        (["poses/0.txt", "calibration/camera.yaml"], ""),
    ],
)
def test_folders_of_images_that_are_not_read_are_told(
    tmp_path: Path, extra: list[str], note: str
) -> None:
    make(tmp_path, "rgb/0.png", "depth/0.png", *extra)
    reason = "the name of the folder says neither color nor depth nor labels"
    expected = (f"not read: {note} ({reason})",) if note else ()
    assert find_frames(tmp_path, kinds=("rgb", "depth")).notes == expected


@pytest.mark.parametrize("name", ["labels", "mask", "GT", "nyu_labels40", "SegmentationClass"])
def test_label_folders_are_told_where_they_are_not_read(tmp_path: Path, name: str) -> None:
    make(tmp_path, "rgb/0.png", "depth/0.png", f"{name}/0.png", "annotation2Dfinal/index.json")
    assert find_frames(tmp_path, kinds=("rgb", "depth")).notes == (
        f"not read: {name}/ (labels are only read for training and scores: training.prepare, "
        "training.evaluate)",
    )
    assert find_frames(tmp_path).notes == ()


def test_other_folders_of_depth_are_told(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "depth/0.png", "depth16/0.png", "depth_vis/0.png")
    make(tmp_path, "depth_colored/0.jpg", "depth_notes/a.txt")
    assert find_frames(tmp_path).notes == (
        "not read: depth16/, depth_colored/, depth_vis/ (depth/ is read instead; to choose, "
        "rename one (or pass --depth DIR to predict))",
    )


def test_depth_in_colors_is_not_taken_for_depth(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "depth16/0.png", "depth_vis/0.png", "depth_colormap/0.png")
    found = find_frames(tmp_path)
    assert frames_of(found) == {"0": ("rgb/0.png", "depth16/0.png")}
    assert found.notes == (
        "not read: depth_colormap/, depth_vis/ (its name says that it shows depth in colors, "
        "which are no distances)",
    )


@pytest.mark.parametrize(
    ("color", "depth"),
    [("img_{}", "d000{}"), ("frame-{}", "0{}"), ("r_{}", "scan_0{}"), ("left00{}", "range{}")],
)
def test_numbers_pair_names_that_differ_in_plain_words(color: str, depth: str) -> None:
    names = [[form.format(i) for i in order] for form, order in ((color, "123"), (depth, "312"))]
    found = match_names(*names)
    assert (found.pairs, found.rule) == (((0, 1), (1, 2), (2, 0)), BY_NUMBER)


@pytest.mark.parametrize(
    ("color", "depth"),
    [("kitchen_{}", "office_{}"), ("rgb_kitchen_{}", "depth_office_0{}"), ("{}", "office_{}")],
)
def test_numbers_pair_no_frames_of_two_places(color: str, depth: str) -> None:
    names = [[form.format(i) for i in range(3)] for form in (color, depth)]
    assert match_names(*names).pairs == ()


def test_of_the_label_images_of_cityscapes_those_with_class_ids_are_read(tmp_path: Path) -> None:
    stem = "aachen_000000_000019"
    kinds = ["color", "instanceIds", "labelIds"]
    files = [f"gtFine/train/aachen/{stem}_gtFine_{kind}.png" for kind in kinds]
    make(tmp_path, f"leftImg8bit/train/aachen/{stem}_leftImg8bit.png", *files)
    make(tmp_path, f"depth/train/aachen/{stem}_depth.png")
    assert found_labels(tmp_path) == [files[2]]
    assert find_frames(tmp_path).notes == (
        f"not read: {files[0]}, {files[1]} (the name says that it does not hold class ids)",
    )
    (tmp_path / files[2]).with_name(f"{stem}_gtFine_labelTrainIds.png").touch()
    assert found_labels(tmp_path) == [files[2].replace("labelIds", "labelTrainIds")]
    assert (
        f"not read: {files[2]} (labelTrainIds are read instead; to choose, remove one kind)"
        in find_frames(tmp_path).notes
    )


def found_labels(root: Path) -> list[str]:
    found = find_frames(root)
    assert not found.unpaired
    return [path.relative_to(root).as_posix() for path in found.files["labels"].values()]


def test_label_folders_without_images_are_no_labels(tmp_path: Path) -> None:
    """`annotation2Dfinal` of SUN RGB-D contains polygons, and so does `ann` of Supervisely."""
    make(tmp_path, "image/0.jpg", "depth/0.png", "annotation2Dfinal/index.json")
    make(tmp_path, "ann/0.png.json")
    assert list(find_frames(tmp_path).files) == ["rgb", "depth"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("7", "7"),
        ("rgb_7", "7"),
        ("rgb/rgb_7.jpg", "7"),
        ("depth\\depth_7.png", "7"),
        ("7.jpg", "7"),
        ("8", None),
        ("", None),
    ],
)
def test_entries_of_lists_name_frames(text: str, name: str | None, tmp_path: Path) -> None:
    make(tmp_path, "rgb/rgb_7.jpg", "depth/depth_7.png", "rgb/rgb_9.jpg", "depth/depth_9.png")
    assert find_frames(tmp_path).find(text) == name


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["readme.txt"],
            r"has no color and no depth and no label images; it contains readme\.txt;",
        ),
        ([], "it contains nothing; expected rgb|color"),
        (["rgb/0.png", "depth/0.xyz"], r"depth has no image that can be read; it contains 0\.xyz"),
        (
            ["rgb/0.png", "depth/0.heic"],
            r"0\.heic .*; convert the images to PNG, or",
        ),
        (
            ["rgb/0.png", "depth/.hidden"],
            "depth has no image that can be read; it contains nothing",
        ),
        (["rgb/0.png", "rgb/0.jpg"], r"rgb/0\.jpg and 0\.png have the same name; keep one"),
        (["0.png", "1.png"], r"it contains 0\.png, 1\.png; expected"),
        (
            ["a_b/rgb/0.png", "a_b/rgb/1.png", "a/rgb/b_0.png", "a/rgb/1.png"],
            "2 frames of the name",
        ),
    ],
)
def test_folders_without_usable_images_are_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageFolderError, match=message):
        find_frames(make(tmp_path, *files))


def test_needed_kinds_and_folders_must_exist(tmp_path: Path) -> None:
    make(tmp_path, "RGB/0.png", "Depth/0.png")
    with pytest.raises(ImageFolderError, match=r"no label images; it contains Depth/, RGB/;"):
        find_frames(tmp_path, need=("labels",))
    with pytest.raises(ImageFolderError, match="missing does not exist"):
        find_frames(tmp_path / "missing")
    with pytest.raises(ImageFolderError, match=r"0\.png is a file; pass its folder"):
        find_frames(tmp_path / "RGB/0.png")


@pytest.mark.parametrize(
    ("rgb", "depth"),
    [
        (["hall", "kitchen"], ["a", "b"]),
        (["kitchen_1", "office_1"], ["depth_1", "depth_2"]),  # whose number 1?
        (["1305031102.175304", "1305031103.0"], ["1305031102.200", "1305031103.5"]),
    ],
)
def test_both_kinds_without_a_single_pair_are_an_error(
    rgb: list[str], depth: list[str], tmp_path: Path
) -> None:
    make(tmp_path, *(f"rgb/{n}.png" for n in rgb), *(f"depth/{n}.png" for n in depth))
    first = rf"rgb/{rgb[0]}\.png and depth/{depth[0]}\.png: neither their names"
    with pytest.raises(ImageFolderError, match=first):
        find_frames(tmp_path)


@pytest.mark.parametrize("difference_ns", [20_000_000, 20_000_001])
def test_stamps_form_a_pair_up_to_20_ms(difference_ns: int) -> None:
    first = [1_305_031_102_175_304_000, 1_305_031_103_000_000_000]
    second = [first[0] - difference_ns, first[1] + 10_000_000]
    pairs = match_names([str(n) for n in first], [str(n) for n in second]).pairs
    assert pairs == (((0, 0), (1, 1)) if difference_ns == 20_000_000 else ((1, 1),))


def test_stamps_are_read_in_every_usual_unit() -> None:
    expected = 1_305_031_102_175_000_000
    for name in ("1305031102.175", "1305031102175", "1305031102175000", "rgb_1305031102175000000"):
        assert stamp_ns(name) == expected
    assert stamp_ns("000123") is None


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=1, max_size=30), st.data())
def test_pairs_by_stamp_are_one_to_one_and_close(stamps: list[int], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.integers(0, 10**9), unique=True, min_size=1, max_size=30))
    names = ["a" * (i + 1) for i in range(len(stamps))], ["b" * (i + 1) for i in range(len(other))]
    pairs = match_names(*names, (stamps, other)).pairs
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    for i, j in pairs:
        difference = abs(stamps[i] - other[j])
        if len(stamps) > 1 or len(other) > 1:
            assert difference <= MAX_STAMP_DIFFERENCE_NS


def test_a_list_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    make(tmp_path, "rgb/1.png", "depth/1.png")
    os.mkfifo(tmp_path / "associations.txt")  # reading it would wait for a writer
    with pytest.raises(ImageFolderError, match=r"associations\.txt is not a regular file"):
        find_frames(tmp_path)


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    make(tmp_path, "rgb.zip", "depth.tar.gz")
    with pytest.raises(ImageFolderError, match=r"\(unpack depth.tar.gz, rgb.zip first\)"):
        find_frames(tmp_path)


def test_a_folder_of_another_kind_is_not_suggested(tmp_path: Path) -> None:
    make(tmp_path, "rgb/0.png", "labels/0.png")
    assert find_frames(tmp_path, kinds=("rgb", "depth")).notes == ()
    make(tmp_path, "laser/0.png")
    assert find_frames(tmp_path, kinds=("rgb", "depth")).notes == (
        "there are no depth images; if laser/ contains them, rename it to depth or depths",
    )


def test_hha_does_not_replace_depth(tmp_path: Path) -> None:
    make(tmp_path, "RGB/0.png", "HHA/0.png", "Label/0.png")  # as CMX uses its files
    message = r"has no depth images; .*; HHA/ is not read, since HHA is computed from the depth"
    with pytest.raises(ImageFolderError, match=message):
        find_frames(tmp_path, need=("rgb", "depth", "labels"))
