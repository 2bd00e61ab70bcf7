# Guards read the tree and the built objects and say what breaks a rule of the house. A new one: a script here that sources
# guard.sh, and its line below.
GUARD_TESTS += \
	t/guard/directives.sh \
	t/guard/includes.sh \
	t/guard/registered.sh \
	t/guard/schema.sh \
	t/guard/sizes.sh \
	t/guard/sql.sh \
	t/guard/symbols.sh

EXTRA_DIST += t/guard/guard.sh $(GUARD_TESTS)
