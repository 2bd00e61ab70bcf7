# usage: events, meters, MeterplexMeter. libmpx_usage.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
BUILT_SOURCES += mod_meterplex/usage/usage_sql.h
CLEANFILES += mod_meterplex/usage/usage_sql.h
EXTRA_DIST += mod_meterplex/usage/usage.sql

noinst_LTLIBRARIES += libmpx_usage.la
libmpx_usage_la_SOURCES = \
	mod_meterplex/usage/usage_capture.c \
	mod_meterplex/usage/usage_capture.h \
	mod_meterplex/usage/usage_counters.c \
	mod_meterplex/usage/usage_domain.c \
	mod_meterplex/usage/usage_domain.h \
	mod_meterplex/usage/usage_event_queries.c \
	mod_meterplex/usage/usage_events.h \
	mod_meterplex/usage/usage_http_events.c \
	mod_meterplex/usage/usage_http_meters.c \
	mod_meterplex/usage/usage_ingest.c \
	mod_meterplex/usage/usage_ingest.h \
	mod_meterplex/usage/usage_jobs.c \
	mod_meterplex/usage/usage_meter_commands.c \
	mod_meterplex/usage/usage_meter_queries.c \
	mod_meterplex/usage/usage_meters.h \
	mod_meterplex/usage/usage_private.h

module_LTLIBRARIES += mod_meterplex_usage.la
mod_meterplex_usage_la_SOURCES = mod_meterplex/usage/mod_meterplex_usage.c
mod_meterplex_usage_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_usage_la_LIBADD = libmpx_usage.la libmpx_lib.la $(SODIUM_LIBS)
