# Each line calls Python; without make: python tasks.py NAME
PYTHON ?= python3

.PHONY: setup check run test test-browser lab data outputs figures reproduce audit bench lint
setup check run test test-browser lab data outputs figures reproduce audit bench lint:
	@$(PYTHON) tasks.py $@ $(ARGS)
