# meterplexctl: the command line; it links the parts of the rooms that know nothing of httpd.
#
# ./dev and t/harness call it so:
#   meterplexctl migrate --database URL [--migrations DIR]      DIR: METERPLEX_DATADIR "/migrations" by default
#   meterplexctl keygen FILE                                    mode 0600; refuses to overwrite
#   meterplexctl bootstrap --database URL --key-file FILE       prints the platform administrator's key (mpx_live_...)
#   meterplexctl tenant create --database URL --key-file FILE --slug S --name N     prints the id (ten_...)
#   meterplexctl key create --database URL --key-file FILE --tenant T --name N --scopes "a b"   prints the secret
#   meterplexctl import --database URL --format combined --tenant T FILE...
# METERPLEX_DATABASE_URL and METERPLEX_KEY_FILE in the environment stand for --database and --key-file.
sbin_PROGRAMS += meterplexctl
meterplexctl_SOURCES = \
	support/ctl.h \
	support/ctl_commands.c \
	support/ctl_db.c \
	support/ctl_doctor.c \
	support/ctl_doctor.h \
	support/ctl_doctor_db.c \
	support/ctl_doctor_httpd.c \
	support/ctl_import.c \
	support/ctl_import.h \
	support/ctl_import_store.c \
	support/ctl_key.c \
	support/ctl_keyfile.c \
	support/ctl_lines.c \
	support/ctl_main.c \
	support/ctl_migrate.c \
	support/ctl_migrations.c \
	support/ctl_options.c \
	support/ctl_output.c \
	support/ctl_progress.c \
	support/ctl_status.c \
	support/ctl_tenant.c
meterplexctl_CPPFLAGS = $(AM_CPPFLAGS) -DCTL_HTTPD='"$(HTTPD)"' -DCTL_HTTPD_MODULEDIR='"$(HTTPD_MODULEDIR)"' \
	-DCTL_MODULEDIR='"$(moduledir)"'
meterplexctl_LDADD = libmpx_usage.la libmpx_identity.la libmpx_db.la libmpx_lib.la \
	$(PQ_LIBS) $(SODIUM_LIBS) $(APU_LIBS) $(APR_LIBS) -lm

BUILT_SOURCES += support/ctl_sql.h
CLEANFILES += support/ctl_sql.h
EXTRA_DIST += support/ctl.sql

# replay: sends the requests of an access log again; for the demo and the tests, not installed
noinst_PROGRAMS = replay
replay_SOURCES = support/replay.c
replay_LDADD = libmpx_lib.la $(SODIUM_LIBS) $(APR_LIBS)
