"""Registers LDM with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from ..configuration_ldm import LDMConfig
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor

AutoConfig.register("ldm", LDMConfig)
# There is no auto class for reinforcement learning; AutoModel gives the model that people act with.
AutoModel.register(LDMConfig, LDMForActionPrediction)
AutoProcessor.register(LDMConfig, LDMProcessor)
