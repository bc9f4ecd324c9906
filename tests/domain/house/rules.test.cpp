// The rules hold for this tree (tests run in the repository root), and each of them finds what it is there to find.

#include "tests/domain/house/rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>

namespace farfield::tests {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(House, RoomsUseOnlyTheRoomsInTheirRow) { EXPECT_THAT(check_layers("."), IsEmpty()); }
TEST(House, LibrariesStayBehindTheRoomThatWrapsThem) { EXPECT_THAT(check_wrapped_libraries("."), IsEmpty()); }
TEST(House, LibrariesDoNotPrintExitOrReadTheEnvironment) { EXPECT_THAT(check_quiet_libraries("."), IsEmpty()); }
TEST(House, NothingIsCompiledForTheMachineAtHandOnly) { EXPECT_THAT(check_portable_flags("."), IsEmpty()); }
TEST(House, NoSourceFileIsLongerThan700Lines) { EXPECT_THAT(check_file_length(".", 700), IsEmpty()); }
TEST(House, ThePageAboutTheRoomsShowsTheTableOfLayers) { EXPECT_THAT(check_house_page("."), IsEmpty()); }
TEST(House, LinksInTheDocumentsLeadSomewhere) { EXPECT_THAT(check_links("."), IsEmpty()); }
TEST(House, EachAttackThatIsWrittenDownIsTried) { EXPECT_THAT(check_attacks(".", 80), IsEmpty()); }

/// A small tree with one file in it, made anew for each test.
class Rules : public testing::Test {
protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(testing::TempDir()) / ("farfield_rules_" + std::to_string(getpid())) / test->name();
    write("cmake/layers.cmake",
          "set(FARFIELD_MAY_USE_core)\nset(FARFIELD_MAY_USE_io core)\nset(FARFIELD_MAY_USE_techniques core)\n");
    write("farfield/core/error.hpp", "#pragma once\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  fs::path root_;
};

TEST_F(Rules, AllowAnEdgeOfTheTable) {
  write("farfield/io/file.cpp", "#include \"farfield/core/error.hpp\"\n");
  EXPECT_THAT(check_layers(root_), IsEmpty());
}

TEST_F(Rules, FindAnEdgeUpwards) {
  write("farfield/io/file.hpp", "");
  write("farfield/core/array.cpp", "// core\n#include \"farfield/io/file.hpp\"\n");
  EXPECT_THAT(check_layers(root_), ElementsAre("farfield/core/array.cpp:2: core must not use io"));
}

TEST_F(Rules, FindATechniqueThatUsesAnother) {
  write("farfield/techniques/xpcs/g2.hpp", "");
  write("farfield/techniques/saxs/fit.cpp", "#include \"farfield/techniques/xpcs/g2.hpp\"\n");
  EXPECT_THAT(check_layers(root_), ElementsAre(HasSubstr("techniques/saxs must not use techniques/xpcs")));
}

TEST_F(Rules, FindAServiceThatUsesALaterOne) {
  write("cmake/layers.cmake",
        "set(FARFIELD_MAY_USE_services/auth core)\nset(FARFIELD_MAY_USE_services/flow core services/auth)\n");
  write("farfield/services/auth/token.hpp", "#include \"farfield/services/flow/run.hpp\"\n");
  write("farfield/services/flow/run.hpp", "#include \"farfield/services/auth/token.hpp\"\n");
  write("farfield/services/attic/old.hpp", "");
  fs::remove_all(root_ / "farfield/core");
  EXPECT_THAT(check_layers(root_), ElementsAre(HasSubstr("room 'services/attic' has no row"),
                                               HasSubstr("token.hpp:1: services/auth must not use services/flow")));
}

TEST_F(Rules, FindARoomOutsideTheTable) {
  write("farfield/attic/old.cpp", "");
  EXPECT_THAT(check_layers(root_), ElementsAre(HasSubstr("room 'attic' has no row")));
}

TEST_F(Rules, FindAnIncludeThatDoesNotExist) {
  write("farfield/io/file.cpp", "#include \"farfield/core/gone.hpp\"\n");
  EXPECT_THAT(check_layers(root_), ElementsAre(HasSubstr("farfield/core/gone.hpp does not exist")));
}

TEST_F(Rules, FindLibrariesOutsideTheirRooms) {
  write("farfield/parallel/mpi.cpp", "MPI_Init(nullptr, nullptr);\n");
  write("farfield/io/hdf5/file.cpp", "hid_t file = H5Fopen(name);\n");
  EXPECT_THAT(check_wrapped_libraries(root_), IsEmpty());
  write("farfield/io/cxi.cpp", "// a comment may say hid_t and MPI_Send(\nhid_t file;\n");
  write("farfield/core/a.cpp", "MPI_Barrier(world);\n#include <boost/asio.hpp>\n");
  EXPECT_THAT(
      check_wrapped_libraries(root_),
      ElementsAre(HasSubstr("core/a.cpp:1: MPI"), HasSubstr("core/a.cpp:2: Boost"), HasSubstr("io/cxi.cpp:2: HDF5")));
}

TEST_F(Rules, FindLibrariesThatPrint) {
  write("farfield/io/quiet.cpp", "std::snprintf(text, n, \"%g\", v);  // printf(\n");
  write("farfield/io/loud.test.cpp", "std::printf(\"tests may\");\n");
  EXPECT_THAT(check_quiet_libraries(root_), IsEmpty());
  write("farfield/io/loud.cpp", "fprintf(stderr, text);\nstd::cout << 1;\nif (getenv(\"DEBUG\")) return;\n");
  EXPECT_THAT(check_quiet_libraries(root_),
              ElementsAre(HasSubstr("loud.cpp:1"), HasSubstr("loud.cpp:2"), HasSubstr("loud.cpp:3")));
}

TEST_F(Rules, FindFlagsForTheMachineAtHand) {
  write("CMakeLists.txt", "# never -march=native\nadd_compile_options(-march=native)\n");
  EXPECT_THAT(check_portable_flags(root_), ElementsAre(HasSubstr("CMakeLists.txt:2")));
}

TEST_F(Rules, FindLongFiles) {
  write("farfield/core/long.cpp", "1\n2\n3\n");
  EXPECT_THAT(check_file_length(root_, 3), IsEmpty());
  EXPECT_THAT(check_file_length(root_, 2), ElementsAre(HasSubstr("3 lines")));
}

TEST_F(Rules, FindAPageAboutTheRoomsThatIsOutOfDate) {
  write("docs/explanation/house.md", "| 0 | `core` | arrays | |\n| 1 | `io` | files | core net |\n");
  EXPECT_THAT(check_house_page(root_),
              ElementsAre(HasSubstr("house.md:2: io differs"), HasSubstr("no row for techniques")));
}

TEST_F(Rules, FindAttacksThatNobodyTries) {
  write("farfield/net/a.test.cpp", "TEST_F(Http, Slow) {\n");
  write("farfield/net/wire.fuzz.cpp", "");
  write("docs/reference/security.md",
        "| attack | what happens | test |\n|---|---|---|\n| slow | closed | `Http.Slow`, `fuzz_wire` |\n"
        "| fast | refused | the same |\n| odd | refused | |\n| old | refused | `Http.Gone` |\n");
  EXPECT_THAT(check_attacks(root_, 5),
              ElementsAre(HasSubstr("security.md:5: no test"), HasSubstr("security.md:6: there is no Http.Gone"),
                          HasSubstr("4 attacks; at least 5")));
}

TEST_F(Rules, FindBrokenLinks) {
  write("docs/a.md",
        "[web](https://example.org) [here](#part) [b](b.md#part) ![picture](p.png) `P[m](r)`\n    "
        "O[j](r)\n```\n[x](y)\n```\n");
  write("docs/b.md", "");
  EXPECT_THAT(check_links(root_), ElementsAre("docs/a.md:1: p.png leads nowhere"));
}

}  // namespace
}  // namespace farfield::tests
