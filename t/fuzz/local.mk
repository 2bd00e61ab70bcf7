# Fuzz targets: t/fuzz/fuzz_NOUN.c has LLVMFuzzerTestOneInput, t/fuzz/corpus/NOUN/ at least one input. To add one:
#   FUZZ_TESTS += t/fuzz/fuzz_NOUN
#   t_fuzz_fuzz_NOUN_LDADD = $(FUZZ_LDADD)
# make check replays the corpus. configure CC=clang --enable-fuzzing links libFuzzer in its place:
#   make t/fuzz/fuzz_NOUN && t/fuzz/fuzz_NOUN -max_total_time=60 t/fuzz/corpus/NOUN
check_LTLIBRARIES += libfuzzmain.la
libfuzzmain_la_CPPFLAGS = $(AM_CPPFLAGS) -DMPX_SRCDIR='"$(abs_top_srcdir)"'
libfuzzmain_la_SOURCES = t/fuzz/replay.c
FUZZ_LDADD = libfuzzmain.la $(LDADD) $(FUZZ_ENGINE)
if FUZZING
libfuzzmain_la_CPPFLAGS += -DMPX_LIBFUZZER
endif

FUZZ_TESTS += t/fuzz/fuzz_decimal
t_fuzz_fuzz_decimal_LDADD = $(FUZZ_LDADD)
FUZZ_TESTS += t/fuzz/fuzz_event
t_fuzz_fuzz_event_LDADD = $(FUZZ_LDADD)
FUZZ_TESTS += t/fuzz/fuzz_json
t_fuzz_fuzz_json_LDADD = $(FUZZ_LDADD)
FUZZ_TESTS += t/fuzz/fuzz_time
t_fuzz_fuzz_time_LDADD = $(FUZZ_LDADD)

if TESTS_ENABLED
check_PROGRAMS += $(FUZZ_TESTS)
endif

EXTRA_DIST += $(wildcard $(srcdir)/t/fuzz/corpus/*/*)
