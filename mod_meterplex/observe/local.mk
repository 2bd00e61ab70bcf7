# observe: health and metrics. libmpx_observe.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
# SQL in observe.sql becomes observe_sql.h; when the file exists:
#   BUILT_SOURCES += mod_meterplex/observe/observe_sql.h
#   CLEANFILES += mod_meterplex/observe/observe_sql.h
#   EXTRA_DIST += mod_meterplex/observe/observe.sql
noinst_LTLIBRARIES += libmpx_observe.la
libmpx_observe_la_SOURCES = \
	mod_meterplex/observe/observe_http.c \
	mod_meterplex/observe/observe_metrics.c \
	mod_meterplex/observe/observe_openapi.c \
	mod_meterplex/observe/observe_private.h

module_LTLIBRARIES += mod_meterplex_observe.la
mod_meterplex_observe_la_SOURCES = mod_meterplex/observe/mod_meterplex_observe.c
mod_meterplex_observe_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_observe_la_LIBADD = libmpx_observe.la libmpx_lib.la $(SODIUM_LIBS)
