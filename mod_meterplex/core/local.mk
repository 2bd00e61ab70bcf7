# core: libmpx_db.la is the part without httpd (meterplexctl links it too), libmpx_core.la the part with it,
# mod_meterplex.so both and the composition root.
noinst_LTLIBRARIES += libmpx_db.la libmpx_core.la
libmpx_db_la_SOURCES =
libmpx_core_la_SOURCES =

if ROOM_CORE
module_LTLIBRARIES += mod_meterplex.la
mod_meterplex_la_SOURCES = mod_meterplex/core/mod_meterplex.c
mod_meterplex_la_LDFLAGS = $(MODULE_LDFLAGS)
mod_meterplex_la_LIBADD = libmpx_core.la libmpx_db.la libmpx_lib.la $(PQ_LIBS) $(SODIUM_LIBS)
endif
