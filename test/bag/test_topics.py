# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Topics are found by the drivers' naming; the error lists ambiguous candidates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.bag import camera_profiles
from rgbd_seg_ros.bag.image_topics import IMAGE, describe_images
from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import Topics, choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Intrinsics

RGB8 = np.zeros((4, 6, 3), np.uint8)
MONO = np.zeros((4, 6), np.uint8)
DEPTH = np.zeros((4, 6), np.uint16)
INFO = Intrinsics(5, 5, 3, 2, 6, 4)
COMPRESSED = "sensor_msgs/msg/CompressedImage"


def _bag(path: Path, topics: dict) -> Path:
    """Write a bag with one message per topic: an array, an Intrinsics, or a compressed format.

    A value may also be a pair of such a value and a frame_id, or a list of arrays.
    """
    with BagWriter(path) as writer:
        for i, (topic, value) in enumerate(topics.items()):
            value, frame_id = value if isinstance(value, tuple) else (value, topic)
            if isinstance(value, list):
                for j, (array, encoding) in enumerate(value):
                    receive_ns, stamp_ns = 2000 + 10 * j + i, 1000 + j
                    if array.size:
                        writer.image(topic, receive_ns, array, stamp_ns, frame_id, encoding)
                        continue
                    fields = dict.fromkeys(("height", "width", "step", "is_bigendian"), 0)
                    fields |= {"encoding": encoding, "data": np.zeros(0, np.uint8)}
                    writer.write(topic, IMAGE, receive_ns, stamp_ns, frame_id, fields)
            elif isinstance(value, Intrinsics):
                writer.camera_info(topic, 1000 + i, value, 1000, frame_id)
            elif isinstance(value, str):
                png = cv2.imencode(".png", DEPTH if "16UC1" in value else RGB8)[1].reshape(-1)
                head = np.zeros(12 if "Depth" in value else 0, np.uint8)
                fields = {"format": value, "data": np.concatenate([head, png])}
                writer.write(topic, COMPRESSED, 1000 + i, 1000, frame_id, fields)
            else:
                writer.image(topic, 1000 + i, value, 1000, frame_id)
    return path


def _choose(path: Path, **wanted) -> Topics:  # type: ignore[no-untyped-def]
    with BagReader(path) as reader:
        return choose_topics(reader, wanted)


REALSENSE = {
    "/camera/camera/color/image_raw": RGB8,
    "/camera/camera/color/camera_info": INFO,
    "/camera/camera/color/image_raw/compressed": "rgb8; jpeg compressed bgr8",
    "/camera/camera/infra1/image_rect_raw": MONO,
    "/camera/camera/depth/image_rect_raw": DEPTH,
    "/camera/camera/depth/camera_info": INFO,
    "/camera/camera/aligned_depth_to_color/image_raw": DEPTH,
    "/camera/camera/aligned_depth_to_color/image_raw/compressedDepth": "16UC1; compressedDepth",
    "/camera/camera/aligned_depth_to_color/camera_info": INFO,
    "/segmenter/mask": MONO,
    "/segmenter/overlay": RGB8,
}


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (
            REALSENSE,
            Topics(
                rgb="/camera/camera/color/image_raw",
                depth="/camera/camera/aligned_depth_to_color/image_raw",
                depth_raw="/camera/camera/depth/image_rect_raw",
                rgb_info="/camera/camera/color/camera_info",
                depth_info="/camera/camera/aligned_depth_to_color/camera_info",
                depth_raw_info="/camera/camera/depth/camera_info",
            ),
        ),
        (
            {  # ZED: depth is aligned to the left image; its camera_info is below the image topic
                "/zed/zed_node/rgb/image_rect_color": RGB8,
                "/zed/zed_node/rgb/camera_info": INFO,
                "/zed/zed_node/right/image_rect_gray": MONO,
                "/zed/zed_node/depth/depth_registered": DEPTH.astype(np.float32),
                "/zed/zed_node/depth/depth_registered/camera_info": INFO,
            },
            Topics(
                rgb="/zed/zed_node/rgb/image_rect_color",
                depth="/zed/zed_node/depth/depth_registered",
                rgb_info="/zed/zed_node/rgb/camera_info",
                depth_info="/zed/zed_node/depth/depth_registered/camera_info",
            ),
        ),
        (
            {  # OAK: depth is recognized by its encoding, aligned depth by its frame_id
                "/oak/rgb/image_raw": (RGB8, "oak_rgb"),
                "/oak/stereo/image_raw": (DEPTH, "oak_rgb"),
                "/oak/imu_depth/other": (DEPTH, "oak_imu"),
            },
            Topics(
                rgb="/oak/rgb/image_raw",
                depth="/oak/stereo/image_raw",
                depth_raw="/oak/imu_depth/other",
            ),
        ),
        (
            {  # compressed transports only; camera_info is found without their suffix
                "/cam/color/image_raw/compressed": "png",
                "/cam/color/camera_info": INFO,
                "/cam/depth/image_raw/compressedDepth": "16UC1; compressedDepth png",
                "/cam/depth/camera_info": INFO,
            },
            Topics(
                rgb="/cam/color/image_raw/compressed",
                depth="/cam/depth/image_raw/compressedDepth",
                rgb_info="/cam/color/camera_info",
                depth_info="/cam/depth/camera_info",
            ),
        ),
        ({"/video/image": RGB8}, Topics(rgb="/video/image")),
        ({"/gray": MONO, "/tof": DEPTH}, Topics(rgb="/gray", depth="/tof")),
        ({"/tof": DEPTH}, Topics(depth="/tof")),
        ({"/a/image_raw": RGB8, "/b/rgb": RGB8}, Topics(rgb="/b/rgb")),
        ({"/a/image_raw": RGB8, "/b/colour": RGB8}, Topics(rgb="/b/colour")),
        ({"/c/rgb": (RGB8, "0"), "/c/x": (DEPTH, "0")}, Topics(rgb="/c/rgb", depth="/c/x")),
    ],
    ids=[
        "realsense", "zed", "oak", "compressed", "color", "gray", "depth", "named", "British",
        "frame 0",
    ],
)  # fmt: skip
def test_driver_topics_are_found(tmp_path: Path, topics: dict, expected: Topics) -> None:
    assert _choose(_bag(tmp_path / "bag", topics)) == expected


@pytest.mark.parametrize(
    ("topics", "wanted", "message"),
    [
        (
            {"/front/color/image_raw": RGB8, "/rear/color/image_raw": RGB8},
            {},
            r"several topics may be rgb: /front/color/image_raw \(Image rgb8 6×4, frame_id "
            r"'/front/color/image_raw', 1 messages\), /rear/color/image_raw \(.*\); choose one "
            "with --rgb-topic",
        ),
        (
            {"/c/color": RGB8, "/c/a/aligned_depth": DEPTH, "/c/b/depth_registered": DEPTH},
            {},
            "several topics may be depth: .*--depth-topic",
        ),
        ({"/cam/camera_info": INFO, "/out/mask": MONO}, {}, "no usable color or depth topic"),
        ({"/cam/rgb": RGB8}, {"rgb": "none"}, "no usable color or depth topic"),
        (REALSENSE, {"rgb": "/camera/color/image_raw"}, "mean '/camera/camera/color/image_raw"),
        (
            REALSENSE,
            {"depth": "/qqqqqqqqqqq"},
            "--depth-topic /qqq.* is not in the bag; topics of this type: /camera",
        ),
        (
            REALSENSE,
            {"rgb": "/camera/camera/color/camera_info"},
            "--rgb-topic .* is sensor_msgs/msg/CameraInfo; it must be sensor_msgs/msg/Image or",
        ),
        (
            REALSENSE,
            {"rgb_info": "/camera/camera/color/image_raw"},
            "--rgb-info-topic .* is sensor_msgs/msg/Image; it must be sensor_msgs/msg/CameraInfo",
        ),
        (
            {"/c/rgb": RGB8, "/truth/compressed": "png"},
            {"truth": "/truth/compressed"},
            "--truth-topic .*CompressedImage; it must be sensor_msgs/msg/Image; topics of this",
        ),
    ],
)
def test_ambiguous_or_wrong_topics_are_refused(
    tmp_path: Path, topics: dict, wanted: dict, message: str
) -> None:
    with pytest.raises(BagError, match=message) as caught:
        _choose(_bag(tmp_path / "bag", topics), **wanted)
    assert "\n" not in str(caught.value)


def test_given_topics_are_kept_and_the_others_are_found(tmp_path: Path) -> None:
    bag = _bag(tmp_path / "bag", {**REALSENSE, "/front/color/image_raw": RGB8})
    chosen = _choose(
        bag,
        rgb="/front/color/image_raw",
        depth="/camera/camera/aligned_depth_to_color/image_raw/compressedDepth",
        truth="/segmenter/mask",
    )
    assert chosen.rgb == "/front/color/image_raw"
    assert chosen.rgb_info is None
    assert chosen.depth_info == "/camera/camera/aligned_depth_to_color/camera_info"
    assert chosen.depth_raw == "/camera/camera/depth/image_rect_raw"
    assert chosen.truth == "/segmenter/mask"
    without = _choose(bag, rgb="/front/color/image_raw", depth="none", depth_raw="none")
    assert without.depth is None
    assert without.depth_raw is None


def test_the_shared_recordings_need_no_options(recordings: Path) -> None:
    aligned = _choose(recordings / "bags" / "realsense_boxes_aligned")
    assert aligned.depth == "/camera/camera/aligned_depth_to_color/image_raw"
    assert aligned.depth_info == "/camera/camera/aligned_depth_to_color/camera_info"
    unaligned = _choose(recordings / "bags" / "realsense_robot_unaligned")
    assert unaligned.depth == "/camera/camera/depth/image_rect_raw"
    name = "librealsense_single_depth_color_640x480.bag"
    sdk = _choose(recordings / "bags_ros1" / name)
    assert sdk.rgb == "/device_0/sensor_1/Color_0/image/data"
    assert sdk.rgb_info == "/device_0/sensor_1/Color_0/info/camera_info"
    assert sdk.depth == "/device_0/sensor_0/Depth_0/image/data"


def _notes(path: Path, topics: dict, **wanted: str) -> tuple[Topics, str]:
    """The chosen topics and their only note, or an empty string."""
    found = _choose(_bag(path, topics), **wanted)
    assert len(found.notes) <= 1
    assert not any("\n" in note for note in found.notes)
    return found, "".join(found.notes)


EMPTY = (np.zeros(0, np.uint8), "")


def test_unusable_first_messages_hide_nothing(tmp_path: Path) -> None:
    color = [EMPTY, (MONO, "rgb8"), (RGB8, "rgb8")]
    found, note = _notes(tmp_path / "bag", {"/c/rgb": color, "/c/depth": [(DEPTH, "16UC1")]})
    assert found.streams == {"/c/rgb": "rgb", "/c/depth": "depth"}
    assert not note


def test_only_the_first_ten_messages_count(tmp_path: Path) -> None:
    late = {"/c/rgb": [EMPTY] * 10 + [(RGB8, "rgb8")], "/c/depth": DEPTH}
    found, note = _notes(tmp_path / "late", late)
    assert found.rgb is None
    assert "/c/rgb (its encoding '' is unknown" in note
    in_time = {"/c/rgb": [EMPTY] * 9 + [(RGB8, "rgb8")], "/c/depth": DEPTH}
    assert _notes(tmp_path / "in_time", in_time)[0].rgb == "/c/rgb"


def test_an_image_of_depth_in_colors_is_no_camera(tmp_path: Path) -> None:
    topics = {"/image": RGB8, "/depth/color_map": RGB8, "/depth/image": DEPTH}
    found, note = _notes(tmp_path / "beside", topics)
    assert (found.rgb, found.depth, note) == ("/image", "/depth/image", "")
    del topics["/image"]
    found, note = _notes(tmp_path / "alone", topics)
    assert (found.rgb, found.depth) == (None, "/depth/image")
    assert "/depth/color_map (it seems to be an image of depth painted with colors)" in note
    assert note.endswith("pass --rgb-topic")


@pytest.mark.parametrize("encoding", ["yuv999", "64FC1", "rgb9"])
def test_an_unknown_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    unknown = [(RGB8, encoding)]
    found, note = _notes(tmp_path / "color", {"/c/image": unknown, "/c/depth": DEPTH})
    assert found.rgb is None
    assert note.startswith(f"no color topic was found: /c/image (its encoding '{encoding}' is un")
    both = {"/c/rgb": RGB8, "/c/depth": DEPTH, "/c/extra": unknown, "/c/mask": unknown}
    found, note = _notes(tmp_path / "both", both)
    assert found.streams == {"/c/rgb": "rgb", "/c/depth": "depth"}
    assert note.startswith(f"topic /c/extra is not used: its encoding '{encoding}' is unknown")
    with pytest.raises(BagError, match=f"no usable color or depth topic; .*'{encoding}'"):
        _choose(_bag(tmp_path / "nothing", {"/c/image": unknown}))


def test_depth_of_eight_bits_is_told(tmp_path: Path) -> None:
    _, note = _notes(tmp_path / "bag", {"/c/rgb/image": RGB8, "/c/depth/image": MONO})
    assert "no depth topic was found: /c/depth/image (its name says depth, but depth of 8" in note


def test_a_stream_without_any_other_topic_is_told(tmp_path: Path) -> None:
    found, note = _notes(tmp_path / "bag", {"/c/rgb": RGB8})
    assert found.rgb == "/c/rgb"
    assert note == "no depth topic was found: the bag has no other image topic"
    assert not _choose(tmp_path / "bag", depth="none").notes


FRONT, REAR = "/front/color/image_raw", "/rear/aligned_depth_to_color/image_raw"


@pytest.mark.parametrize(
    "frames", [("front_color", "rear_color"), ("camera_color", "camera_color"), ("", "")]
)
def test_two_cameras_are_never_fused(tmp_path: Path, frames: tuple[str, str]) -> None:
    """Two drivers in two namespaces may use the same default frame_id."""
    topics = {FRONT: (RGB8, frames[0]), REAR: (DEPTH, frames[1])}
    found, note = _notes(tmp_path / "bag", topics)
    assert (found.rgb, found.depth, found.depth_raw) == (FRONT, None, None)
    assert f"{REAR} (it seems to be from another camera" in note
    assert _choose(tmp_path / "bag", depth=REAR).streams == {FRONT: "rgb", REAR: "depth"}


def test_a_given_topic_decides_the_camera_of_the_other(tmp_path: Path) -> None:
    kinds = {"color/image_raw": RGB8, "aligned_depth_to_color/image_raw": DEPTH}
    sides = ("left", "right")
    bag = _bag(tmp_path / "bag", {f"/{s}/{name}": a for s in sides for name, a in kinds.items()})
    with pytest.raises(BagError, match=r"may be rgb: /left/color.*, /right/color.*--rgb-topic"):
        _choose(bag)
    for side in sides:
        color, depth = (f"/{side}/{name}" for name in kinds)
        assert _choose(bag, rgb=color).depth == depth
        assert _choose(bag, depth=depth).rgb == color


def test_depth_of_another_node_is_found_by_its_frame_id(tmp_path: Path) -> None:
    topics = {"/usb_cam/image_raw": (RGB8, "cam"), "/midas/depth": (DEPTH, "cam")}
    assert _notes(tmp_path / "same", topics)[0].depth == "/midas/depth"
    topics["/midas/depth"] = (DEPTH, "other")
    assert _notes(tmp_path / "other", topics)[0].depth is None


def test_the_camera_with_depth_is_preferred(tmp_path: Path) -> None:
    topics = {"/a/color/image": RGB8, "/b/color/image": RGB8, "/b/depth/image": DEPTH}
    assert _notes(tmp_path / "bag", topics)[0].rgb == "/b/color/image"


def test_video_is_used_only_without_images(tmp_path: Path) -> None:
    topics: dict = {"/c/rgb/video": "h264", "/c/rgb/image/compressed": "png", "/c/depth": DEPTH}
    found, note = _notes(tmp_path / "both", topics)
    assert (found.rgb, note) == ("/c/rgb/image/compressed", "")
    del topics["/c/rgb/image/compressed"]
    assert _notes(tmp_path / "video", topics)[0].rgb == "/c/rgb/video"


def test_what_compressed_bytes_contain_counts_more_than_their_format(tmp_path: Path) -> None:
    depth = cv2.imencode(".png", DEPTH)[1].reshape(-1)
    with BagWriter(tmp_path / "bag") as writer:
        writer.image("/c/rgb", 1000, RGB8, 1000, "c")
        fields = {"format": "png", "data": depth}
        writer.write("/c/depth/compressed", COMPRESSED, 1001, 1000, "c", fields)
    assert _choose(tmp_path / "bag").depth == "/c/depth/compressed"


def test_the_shipped_profiles_are_read() -> None:
    profiles = {p.rgb: p for p in camera_profiles.camera_profiles()}
    zed = profiles["rgb/color/rect/image"]
    assert zed.depth == "depth/depth_registered"
    assert zed.prefix_of("/front/zed_node/rgb/color/rect/image", "rgb") == "/front/zed_node/"
    assert zed.prefix_of("/front/zed_node/bgr/color/rect/image", "rgb") is None
    assert zed.prefix_of("/zed/image", "depth_raw") is None


def test_without_profiles_the_names_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_profiles, "__file__", str(tmp_path / "a" / "b" / "c" / "x.py"))
    camera_profiles.camera_profiles.cache_clear()
    try:
        assert camera_profiles.camera_profiles() == ()
        assert _choose(_bag(tmp_path / "bag", REALSENSE)).depth_raw is not None
        installed = tmp_path / "share" / "rgbd_seg_ros" / "config" / "camera"
        installed.mkdir(parents=True)
        (installed / "broken.yaml").write_text("topics: [")
        (installed / "mine.yaml").write_text(
            "topics: {rgb/image_raw: eye/image, depth/image_raw: ruler/image}"
        )
        camera_profiles.camera_profiles.cache_clear()
        (mine,) = camera_profiles.camera_profiles()
        topics = {"/r/eye/image": RGB8, "/r/rgb": RGB8, "/r/ruler/image": DEPTH, "/r/depth": DEPTH}
        found = _choose(_bag(tmp_path / "profile", topics))
        assert mine.prefix_of(found.rgb or "", "rgb") == "/r/"
        assert found.depth == "/r/ruler/image"
    finally:
        camera_profiles.camera_profiles.cache_clear()


def test_a_pair_of_infrared_and_depth_is_a_choice_that_is_named(tmp_path: Path) -> None:
    pair = {"/cam/infra1/image": MONO, "/cam/aligned_depth_to_infra1/image": DEPTH}
    with pytest.raises(BagError, match=r"\(its name says infra\); to use .* pass --rgb-topic or"):
        _choose(_bag(tmp_path / "bag", pair))


def _counted(path: Path, counts: dict[str, int]) -> Path:
    """Write a bag with so many messages on each topic; its name says what they are."""
    with BagWriter(path) as writer:
        for topic, count in counts.items():
            for i in range(count):
                if topic.endswith("/compressed"):
                    png = cv2.imencode(".png", RGB8)[1].reshape(-1)
                    fields = {"format": "png", "data": png}
                    writer.write(topic, COMPRESSED, 1000 + i, 1000 + i, "c", fields)
                else:
                    image = DEPTH if "depth" in topic else RGB8
                    writer.image(topic, 1000 + i, image, 1000 + i, "c")
    return path


@pytest.mark.parametrize(("raw", "compressed"), [(27, False), (29, False), (17, True), (1, True)])
def test_the_transport_with_nearly_all_frames_is_chosen(
    tmp_path: Path, raw: int, compressed: bool
) -> None:
    names = "/c/color/image_raw", "/c/color/image_raw/compressed"
    counts = {names[0]: raw, names[1]: 29 if raw > 20 else 19, "/c/depth/image": 29}
    found = _choose(_counted(tmp_path / "bag", counts))
    assert found.rgb == names[compressed]
    told = f"topic {names[1]} with 19 messages is used instead of {names[0]}, which has only {raw}"
    assert found.notes == ((told,) if compressed else ())


def test_a_form_of_an_image_with_hardly_any_frames_is_not_chosen(tmp_path: Path) -> None:
    counts = {"/c/color/image_raw": 2, "/c/color/image": 30, "/c/depth/image": 30}
    assert _choose(_counted(tmp_path / "few", counts)).rgb == "/c/color/image"
    counts["/c/color/image_raw"] = 15
    assert _choose(_counted(tmp_path / "half", counts)).rgb == "/c/color/image_raw"


@pytest.mark.parametrize(("topic", "kind"), [
    ("/c/color/image_raw", "gray"), ("/c/rgb/image", "gray"), ("/c/gray/image", "gray"),
    ("/c/mono/image", "gray"), ("/c/image", "depth"), ("/c/depth/image", "depth"),
    ("/c/depth_gray/image", "depth"), ("/device_0/sensor_0/Depth_0/image/data", "depth"),
])  # fmt: skip
def test_mono16_is_gray_only_if_the_name_says_so(tmp_path: Path, topic: str, kind: str) -> None:
    with BagReader(_bag(tmp_path / "bag", {topic: [(DEPTH, "mono16")]})) as reader:
        (image,) = describe_images(reader)
    assert image.kind == kind


def test_both_sides_of_a_gray_stereo_pair_are_no_camera(tmp_path: Path) -> None:
    """A single one may be the camera, and so may a pair in color."""
    pair = {"/s/left/image": MONO, "/s/right/image": MONO}
    with BagReader(_bag(tmp_path / "pair", pair)) as reader:
        reasons = {image.no_camera for image in describe_images(reader)}
    assert reasons == {"it is one of a stereo pair of gray images"}
    for i, side in enumerate(("left", "right")):
        topics = {f"/s/{side}/image": MONO, "/s/center/image": MONO}
        with BagReader(_bag(tmp_path / f"single{i}", topics)) as reader:
            assert {image.no_camera for image in describe_images(reader)} == {""}
    with BagReader(_bag(tmp_path / "color", dict.fromkeys(pair, RGB8))) as reader:
        assert {image.no_camera for image in describe_images(reader)} == {""}


@pytest.mark.parametrize(("topic", "remedy"), [
    ("/c/color/image", "record rgb8 or bgr8"),
    ("/c/depth/image", "record one of 16UC1, mono16, 32FC1"),
    ("/c/image", "record rgb8, bgr8 or, of depth, one of 16UC1, mono16, 32FC1"),
])  # fmt: skip
def test_the_remedy_for_an_unknown_encoding_fits_the_name(
    tmp_path: Path, topic: str, remedy: str
) -> None:
    with BagReader(_bag(tmp_path / "bag", {topic: [(RGB8, "hsv8")]})) as reader:
        (image,) = describe_images(reader)
    assert image.unreadable == f"its encoding 'hsv8' is unknown; {remedy}"


def test_a_given_camera_info_of_another_size_is_told(tmp_path: Path) -> None:
    other = Intrinsics(5, 5, 3, 2, 12, 8)
    topics = {"/c/color/image": RGB8, "/c/color/camera_info": INFO, "/d/camera_info": other}
    bag = _bag(tmp_path / "bag", {**topics, "/c/depth/image": DEPTH})
    assert _choose(bag, rgb_info="/d/camera_info").notes == (
        "--rgb-info-topic /d/camera_info is for 12×8 images, but those of /c/color/image have "
        "6×4: pass /c/color/camera_info, or omit the option",
    )
    assert _choose(bag, rgb_info="/c/color/camera_info").notes == ()


@pytest.mark.parametrize(("topics", "given", "remedy"), [
    ({"/c/rgb": RGB8}, "/c/rgb", "sensor_msgs/msg/CameraInfo; omit it, since there is none"),
    ({"/c/rgb": RGB8}, "/c/info", "is not in the bag; omit it, since there is none"),
    ({"/c/rgb": RGB8, "/c/camera_info": INFO}, "/c/rgb",
     "sensor_msgs/msg/CameraInfo; topics of this type: /c/camera_info"),
])  # fmt: skip
def test_a_wrong_camera_info_has_a_remedy(
    tmp_path: Path, topics: dict, given: str, remedy: str
) -> None:
    with pytest.raises(BagError, match=f"--rgb-info-topic {given} .*{remedy}$"):
        _choose(_bag(tmp_path / "bag", topics), rgb_info=given)
