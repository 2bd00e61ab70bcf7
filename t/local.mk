# How tests run: each program and script writes TAP, so that a result counts cases and not programs.
TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = bash

AM_TESTS_ENVIRONMENT = \
	export top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
	CC='$(CC)' APXS='$(APXS)' HTTPD='$(HTTPD)' HTTPD_MODULEDIR='$(HTTPD_MODULEDIR)' \
	METERPLEX_PRELOAD='$(SANITIZER_PRELOAD)' \
	CK_TAP_LOG_FILE_NAME=- CK_VERBOSITY=silent CK_DEFAULT_TIMEOUT=$${CK_DEFAULT_TIMEOUT:-60}; \
	test -n "$${ASAN_OPTIONS-}" || export ASAN_OPTIONS=strict_string_checks=1; \
	test -n "$${UBSAN_OPTIONS-}" || export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;

# a libFuzzer program never ends by itself
if FUZZING
FUZZ_REPLAYS =
else
FUZZ_REPLAYS = $(FUZZ_TESTS)
endif

if TESTS_ENABLED
TESTS = $(GUARD_TESTS) $(UNIT_TESTS) $(FUZZ_REPLAYS) $(API_TESTS) $(FAULT_TESTS)
else
TESTS =
check-local:
	@echo 'make check: no tests in this build; configure names the packages that are missing' >&2
endif

EXTRA_DIST += $(wildcard $(srcdir)/t/data/*)
