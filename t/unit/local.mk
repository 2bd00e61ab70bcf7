# One Check program a noun: t/unit/test_NOUN.c has a main that runs tap_run() of tap.h. To add one:
#   UNIT_TESTS += t/unit/test_NOUN
# It links LDADD of Makefile.am; one that tests a room's domain says
#   t_unit_test_NOUN_LDADD = libmpx_ROOM.la $(LDADD)
EXTRA_DIST += t/unit/tap.h

UNIT_TESTS += t/unit/test_cache
UNIT_TESTS += t/unit/test_cells
UNIT_TESTS += t/unit/test_counters
UNIT_TESTS += t/unit/test_event
UNIT_TESTS += t/unit/test_identity_domain
t_unit_test_identity_domain_LDADD = libmpx_identity.la libmpx_db.la $(LDADD) $(PQ_LIBS)
UNIT_TESTS += t/unit/test_json
t_unit_test_json_LDADD = $(LDADD) $(JANSSON_LIBS)
t_unit_test_json_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
UNIT_TESTS += t/unit/test_json_random
t_unit_test_json_random_LDADD = $(LDADD) $(JANSSON_LIBS)
t_unit_test_json_random_CPPFLAGS = $(t_unit_test_json_CPPFLAGS)
UNIT_TESTS += t/unit/test_jsonw
UNIT_TESTS += t/unit/test_rate
UNIT_TESTS += t/unit/test_schema
UNIT_TESTS += t/unit/test_uuid
UNIT_TESTS += t/unit/test_steps
UNIT_TESTS += t/unit/test_time
UNIT_TESTS += t/unit/test_net
UNIT_TESTS += t/unit/test_apikey
UNIT_TESTS += t/unit/test_clf
UNIT_TESTS += t/unit/test_decimal
UNIT_TESTS += t/unit/test_secret
UNIT_TESTS += t/unit/test_interleavings
UNIT_TESTS += t/unit/test_threads
if THREAD_SANITIZER
# the same with the tables' own sources, so that every access to them is watched
UNIT_TESTS += t/unit/test_threads_tsan
t_unit_test_threads_tsan_SOURCES = t/unit/test_threads.c mod_meterplex/lib/mpx_cells.c mod_meterplex/lib/mpx_counters.c \
	mod_meterplex/lib/mpx_rate.c mod_meterplex/lib/mpx_uuid.c
t_unit_test_threads_tsan_CFLAGS = $(AM_CFLAGS) -fsanitize=thread
t_unit_test_threads_tsan_LDFLAGS = $(AM_LDFLAGS) -fsanitize=thread
t_unit_test_threads_tsan_LDADD = $(CHECK_LIBS) $(SODIUM_LIBS) $(APR_LIBS) -lm
UNIT_TESTS += t/unit/test_cache_tsan
t_unit_test_cache_tsan_SOURCES = t/unit/test_cache.c mod_meterplex/lib/mpx_cache.c
t_unit_test_cache_tsan_CFLAGS = $(t_unit_test_threads_tsan_CFLAGS)
t_unit_test_cache_tsan_LDFLAGS = $(t_unit_test_threads_tsan_LDFLAGS)
t_unit_test_cache_tsan_LDADD = $(t_unit_test_threads_tsan_LDADD)
endif

if TESTS_ENABLED
check_PROGRAMS += $(UNIT_TESTS)
endif
