"""ONNX Runtime and the card: sessions, providers, streams and device memory.

The only wing that imports onnxruntime. Knows graphs as files to open. Knows nothing of what they compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.runtime import model_key as model_key
    from tdt.runtime.backend import Backend as Backend
    from tdt.runtime.backend import Provider as Provider
    from tdt.runtime.built_engine import REPORT_NAME as REPORT_NAME
    from tdt.runtime.built_engine import as_built as as_built
    from tdt.runtime.capturing import quiet as quiet
    from tdt.runtime.card_kernel import CardKernel as CardKernel
    from tdt.runtime.card_kernel import CardMemory as CardMemory
    from tdt.runtime.card_kernel import card_shared_bytes as card_shared_bytes
    from tdt.runtime.card_kernel import cooperative_problem as cooperative_problem
    from tdt.runtime.device import DeviceArray as DeviceArray
    from tdt.runtime.device import DeviceSlice as DeviceSlice
    from tdt.runtime.device import adopt as adopt
    from tdt.runtime.device_queue import CudaStream as CudaStream
    from tdt.runtime.device_queue import open_queue as open_queue
    from tdt.runtime.device_queue import open_queues as open_queues
    from tdt.runtime.device_queue import takes_stream as takes_stream
    from tdt.runtime.driver import Driver as Driver
    from tdt.runtime.driver import card_uuid as card_uuid
    from tdt.runtime.driver import read_driver as read_driver
    from tdt.runtime.form_check import form_problem as form_problem
    from tdt.runtime.form_check import require_kernels as require_kernels
    from tdt.runtime.node_report import place_graphs as place_graphs
    from tdt.runtime.node_report import render as render
    from tdt.runtime.numbers import COMPUTED_IN_KEY as COMPUTED_IN_KEY
    from tdt.runtime.numbers import Numbers as Numbers
    from tdt.runtime.numbers import advice as advice
    from tdt.runtime.numbers import computed_in as computed_in
    from tdt.runtime.nvrtc import CudaSource as CudaSource
    from tdt.runtime.ort import onnxruntime as onnxruntime
    from tdt.runtime.placement import computing_on_cpu as computing_on_cpu
    from tdt.runtime.provider_options import EXECUTION_PROVIDERS as EXECUTION_PROVIDERS
    from tdt.runtime.provider_options import ShapeProfile as ShapeProfile
    from tdt.runtime.provider_options import encoder_profile as encoder_profile
    from tdt.runtime.selection import choose_provider as choose_provider
    from tdt.runtime.session import Binding as Binding
    from tdt.runtime.session import Session as Session
    from tdt.runtime.session import usable_providers as usable_providers
    from tdt.runtime.work_queue import WorkQueue as WorkQueue

__getattr__, __all__ = door(
    __name__,
    {
        "": "model_key",
        "backend": "Backend Provider",
        "built_engine": "REPORT_NAME as_built",
        "capturing": "quiet",
        "card_kernel": "CardKernel CardMemory card_shared_bytes cooperative_problem",
        "device": "DeviceArray DeviceSlice adopt",
        "device_queue": "CudaStream open_queue open_queues takes_stream",
        "driver": "Driver card_uuid read_driver",
        "form_check": "form_problem require_kernels",
        "node_report": "place_graphs render",
        "numbers": "COMPUTED_IN_KEY Numbers advice computed_in",
        "nvrtc": "CudaSource",
        "ort": "onnxruntime",
        "placement": "computing_on_cpu",
        "provider_options": "EXECUTION_PROVIDERS ShapeProfile encoder_profile",
        "selection": "choose_provider",
        "session": "Binding Session usable_providers",
        "work_queue": "WorkQueue",
    },
)
