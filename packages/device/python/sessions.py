"""Sessions of ONNX Runtime: on the processor, and on Qualcomm's NPU, which is emulated where there is none."""
import onnxruntime as ort


def quiet_options(severity=3):
    options = ort.SessionOptions()
    options.log_severity_level = severity
    return options


def processor_session(path):
    """Operators as they are written, without fusions: float between DequantizeLinear and QuantizeLinear."""
    options = quiet_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def npu_session(path, soc, entries=None, provider=None, severity=3):
    """The whole graph on the NPU of a chip: a node that would be left to the processor is an error.

    `soc`: Qualcomm's numbers, `{"socModel": 57, "htpArch": 75}`. `entries` and `provider`: more settings of session and provider.
    """
    import onnxruntime_qnn as qnn

    def devices():
        return [device for device in ort.get_ep_devices() if "QNN" in device.ep_name]

    if not devices():  # once a process
        ort.register_execution_provider_library("QNNExecutionProvider", qnn.get_library_path())
    options = quiet_options(severity)
    for name, value in {"session.disable_cpu_ep_fallback": "1", **(entries or {})}.items():
        options.add_session_config_entry(name, value)
    options.add_provider_for_devices(devices()[:1], {
        "backend_path": qnn.get_qnn_htp_path(),
        "soc_model": str(soc["socModel"]),
        "htp_arch": str(soc["htpArch"]),
        "vtcm_mb": "8",
        "htp_graph_finalization_optimization_mode": "3",
        "htp_performance_mode": "burst",
        **(provider or {}),
    })
    return ort.InferenceSession(path, options)


def outputs_of(session, feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds)))
