"""Tests of the Azure ML emulator, part by part."""
