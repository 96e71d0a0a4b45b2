"""Tests of the containers that emulated clouds share."""
