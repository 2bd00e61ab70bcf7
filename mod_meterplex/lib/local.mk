# lib/: plain C on APR and libsodium; linked by every module, by meterplexctl, by unit tests and fuzz targets
noinst_LTLIBRARIES += libmpx_lib.la
libmpx_lib_la_SOURCES = \
	mod_meterplex/lib/mpx_counters.c \
	mod_meterplex/lib/mpx_counters.h \
	mod_meterplex/lib/mpx_cache.c \
	mod_meterplex/lib/mpx_cache.h \
	mod_meterplex/lib/mpx_cells.c \
	mod_meterplex/lib/mpx_cells.h \
	mod_meterplex/lib/mpx_apikey.c \
	mod_meterplex/lib/mpx_apikey.h \
	mod_meterplex/lib/mpx_clf.c \
	mod_meterplex/lib/mpx_clf.h \
	mod_meterplex/lib/mpx_decimal.c \
	mod_meterplex/lib/mpx_decimal.h \
	mod_meterplex/lib/mpx_event.c \
	mod_meterplex/lib/mpx_event.h \
	mod_meterplex/lib/mpx_json.c \
	mod_meterplex/lib/mpx_json.h \
	mod_meterplex/lib/mpx_jsonpath.c \
	mod_meterplex/lib/mpx_jsonw.c \
	mod_meterplex/lib/mpx_net.c \
	mod_meterplex/lib/mpx_net.h \
	mod_meterplex/lib/mpx_rate.c \
	mod_meterplex/lib/mpx_rate.h \
	mod_meterplex/lib/mpx_schema.c \
	mod_meterplex/lib/mpx_schema.h \
	mod_meterplex/lib/mpx_secret.c \
	mod_meterplex/lib/mpx_secret.h \
	mod_meterplex/lib/mpx_time.c \
	mod_meterplex/lib/mpx_time.h \
	mod_meterplex/lib/mpx_utf8.h \
	mod_meterplex/lib/mpx_uuid.c \
	mod_meterplex/lib/mpx_uuid.h
