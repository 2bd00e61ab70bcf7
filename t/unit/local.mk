# One Check program a noun: t/unit/test_NOUN.c has a main that runs tap_run() of tap.h. To add one:
#   UNIT_TESTS += t/unit/test_NOUN
# It links LDADD of Makefile.am; one that tests a room's domain says
#   t_unit_test_NOUN_LDADD = libmpx_ROOM.la $(LDADD)
EXTRA_DIST += t/unit/tap.h

if TESTS_ENABLED
check_PROGRAMS += $(UNIT_TESTS)
endif
