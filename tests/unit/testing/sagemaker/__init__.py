"""Tests of the SageMaker emulator, part by part."""
