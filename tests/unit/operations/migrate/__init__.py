"""Tests of operations/migrate."""
