# usage: events, meters, MeterplexMeter. libmpx_usage.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
# SQL in usage.sql becomes usage_sql.h; when the file exists:
#   BUILT_SOURCES += mod_meterplex/usage/usage_sql.h
#   CLEANFILES += mod_meterplex/usage/usage_sql.h
#   EXTRA_DIST += mod_meterplex/usage/usage.sql
noinst_LTLIBRARIES += libmpx_usage.la
libmpx_usage_la_SOURCES =

if ROOM_USAGE
module_LTLIBRARIES += mod_meterplex_usage.la
mod_meterplex_usage_la_SOURCES = mod_meterplex/usage/mod_meterplex_usage.c
mod_meterplex_usage_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_usage_la_LIBADD = libmpx_usage.la libmpx_lib.la $(SODIUM_LIBS)
endif
