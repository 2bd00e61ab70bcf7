# limit: rate limits. libmpx_limit.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
# SQL in limit.sql becomes limit_sql.h; when the file exists:
#   BUILT_SOURCES += mod_meterplex/limit/limit_sql.h
#   CLEANFILES += mod_meterplex/limit/limit_sql.h
#   EXTRA_DIST += mod_meterplex/limit/limit.sql
noinst_LTLIBRARIES += libmpx_limit.la
libmpx_limit_la_SOURCES = \
	mod_meterplex/limit/limit_check.c \
	mod_meterplex/limit/limit_config.c \
	mod_meterplex/limit/limit_private.h

module_LTLIBRARIES += mod_meterplex_limit.la
mod_meterplex_limit_la_SOURCES = mod_meterplex/limit/mod_meterplex_limit.c
mod_meterplex_limit_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_limit_la_LIBADD = libmpx_limit.la libmpx_lib.la $(SODIUM_LIBS)
