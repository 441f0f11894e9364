"""transformers' own common tests, taken as they are: `test_transformers_tests.py` fetches and runs them."""

import copy
import unittest

import torch
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import MODEL_MAPPING_NAMES, ModelTesterMixin
from transformers_tests.test_processing_common import ProcessorTesterMixin

import ldm_hf.auto  # noqa: F401
from ldm_hf import LDMConfig, LDMForActionPrediction, LDMModel, LDMProcessor
from tests.conftest import TINY
from tests.model.test_model import rich_batch

torch.set_num_threads(1)
MODEL_MAPPING_NAMES["ldm"] = "LDMModel"  # has no loss; known by name, as that of every model of transformers
CANNOT = {
    "test_model_input_names": "LDMProcessor takes no text, images, videos or audio",
    "test_flat_kwarg_applied_when_modality_dict_lacks_it": "LDMProcessor takes no text, images, videos or audio",
    "test_call_arguments_default_none": "LDMProcessor makes tensors of PyTorch if not told otherwise",
    "test_call_arguments_not_in_processor_kwargs": "LDMProcessor has no processors below it to hand arguments to",
}


def leave_out(tests):
    """Skips the tests of a class that cannot run, with the reason."""
    for name in CANNOT.keys() & set(dir(tests)):
        setattr(tests, name, unittest.skip(CANNOT[name])(getattr(tests, name)))
    return tests


class LDMTester:
    """What transformers calls a model tester: sizes, a small configuration and inputs of every kind."""

    batch_size, seq_length, is_training = 2, 10, True
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 2

    def get_config(self):
        return LDMConfig(**TINY)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        inputs = rich_batch(LDMProcessor.from_config(config), self.seq_length, self.batch_size)
        return config, dict(inputs)


@leave_out
class LDMModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (LDMModel, LDMForActionPrediction)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True
    _is_composite = True
    additional_model_inputs = ("signature", "element_rows", "element_ids", "element_sizes")

    def setUp(self):
        self.model_tester = LDMTester()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = copy.deepcopy(inputs_dict)
        if model_class is LDMModel:
            inputs = {name: value for name, value in inputs.items() if not name.startswith("element_")}
        if model_class is LDMModel or not return_labels:
            inputs.pop("labels", None)
        return inputs

    def test_config(self):
        tester = ConfigTester(
            self, config_class=LDMConfig, has_text_modality=False, common_properties=["hidden_size"], num_choices=21
        )
        tester.run_common_tests()


@leave_out
class LDMProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = LDMProcessor

    @staticmethod
    def prepare_processor_dict():
        return {"num_choices": 21, "bag_buckets": 256}
