# Run at every build: writes OUT only when the revision has changed.
execute_process(COMMAND git describe --always --dirty=+changes --abbrev=12 --exclude=*
                WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE
                ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[
namespace farfield::apps {
const char* git_revision() { return "@revision@"; }
}  // namespace farfield::apps
]] @ONLY)
