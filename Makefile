# Each line calls Python; without make: python tasks.py NAME
PYTHON ?= python3

.PHONY: setup check run test test-all test-browser lab book data outputs figures reproduce audit bench stress lint
setup check run test test-all test-browser lab book data outputs figures reproduce audit bench stress lint:
	@$(PYTHON) tasks.py $@ $(ARGS)
