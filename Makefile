# Names for what ./run and .ci/run do; nothing is decided here.
.PHONY: start test check ci pins

start:
	./run

test:
	./run test

check:
	./run check

ci:
	.ci/run

# requirements/*.txt anew from requirements/*.in, with today's versions and their hashes.
pins:
	python3 portal/start/install.py pins
