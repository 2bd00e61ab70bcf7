# Soaks: long where they are asked for (./dev check fault), short among all the others. Two lines add one, as in t/api.
FAULT_TESTS += t/fault/test_lives
t_fault_test_lives_LDADD = $(HARNESS_LDADD)
