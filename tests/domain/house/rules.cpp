#include "tests/domain/house/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace farfield::tests {
namespace fs = std::filesystem;
namespace {

// Folders that are built, downloaded or not ours.
const std::set<std::string> kSkippedFolders{".git", "build", "out", "node_modules"};

std::vector<fs::path> files_below(const fs::path& folder, const std::set<std::string>& extensions) {
  std::vector<fs::path> found;
  if (!fs::exists(folder)) return found;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    if (it->is_directory() && kSkippedFolders.contains(it->path().filename().string())) it.disable_recursion_pending();
    else if (it->is_regular_file() && extensions.contains(it->path().extension().string())) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

const std::set<std::string> kSources{".cpp", ".hpp", ".h", ".cu"};

void for_each_line(const fs::path& file, const std::function<void(const std::string& line, int number)>& visit) {
  std::ifstream in(file);
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) visit(line, number);
}

std::string where(const fs::path& root, const fs::path& file, int line) {
  return fmt::format("{}:{}", fs::relative(file, root).string(), line);
}

/// "farfield/io/hdf5/file.hpp" -> io, "farfield/techniques/xpcs/g2.hpp" -> techniques/xpcs, and so for services.
std::string room_of(const std::string& path) {
  static const std::regex pattern(R"(^farfield/((?:techniques|services)/[^/]+|[^/]+)/)");
  std::smatch match;
  return std::regex_search(path, match, pattern) ? match[1].str() : "";
}

}  // namespace

std::map<std::string, std::set<std::string>> read_layers(const fs::path& layers_cmake) {
  std::map<std::string, std::set<std::string>> table;
  static const std::regex row(R"(^\s*set\(FARFIELD_MAY_USE_([\w/]+)([^)]*)\))");
  for_each_line(layers_cmake, [&](const std::string& line, int) {
    std::smatch match;
    if (!std::regex_search(line, match, row)) return;
    std::istringstream words(match[2].str());
    std::set<std::string>& allowed = table[match[1].str()];
    for (std::string word; words >> word;) allowed.insert(word);
  });
  if (table.empty()) throw std::runtime_error("no table of layers in " + layers_cmake.string());
  return table;
}

Violations check_layers(const fs::path& root) {
  const auto table = read_layers(root / "cmake/layers.cmake");
  static const std::regex include(R"re(^\s*#\s*include\s*"(farfield/[^"]+)")re");
  Violations found;
  for (const auto& file : files_below(root / "farfield", kSources)) {
    const std::string room = room_of(fs::relative(file, root).generic_string());
    const auto own = table.find(room);
    const auto row = own != table.end() ? own : table.find(room.substr(0, room.find('/')));
    if (row == table.end()) {
      found.push_back(fmt::format("{}: room '{}' has no row in cmake/layers.cmake", where(root, file, 1), room));
      continue;
    }
    for_each_line(file, [&](const std::string& line, int number) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) return;
      const std::string used = room_of(match[1].str());
      if (used != room && !row->second.contains(used))
        found.push_back(fmt::format("{}: {} must not use {}", where(root, file, number), room, used));
      if (!fs::exists(root / match[1].str()))
        found.push_back(fmt::format("{}: {} does not exist", where(root, file, number), match[1].str()));
    });
  }
  return found;
}

Violations check_wrapped_libraries(const fs::path& root) {
  struct Rule {
    const char* library;
    const char* home;  // the folder that may
    std::regex sign;
  };
  static const std::vector<Rule> rules{
      {"MPI", "farfield/parallel/", std::regex(R"(\bMPI_[A-Z]\w*\s*\(|#\s*include\s*<mpi\.h>)")},
      {"HDF5", "farfield/io/hdf5/", std::regex(R"(\bhid_t\b|\bH5[A-Z]+[a-z]\w*\s*\(|#\s*include\s*<hdf5)")},
      {"SQL", "farfield/store/",
       std::regex(R"(\bsqlite3_\w+\s*\(|\bPQ[a-z]\w+\s*\(|#\s*include\s*<(sqlite3|libpq-fe)\.h>)")},
      {"Boost", "farfield/net/", std::regex(R"(#\s*include\s*<boost/)")},
  };
  Violations found;
  for (const auto& file : files_below(root / "farfield", kSources)) {
    const std::string name = fs::relative(file, root).generic_string();
    for_each_line(file, [&](const std::string& line, int number) {
      const std::string code = line.substr(0, line.find("//"));
      for (const auto& rule : rules)
        if (!name.starts_with(rule.home) && std::regex_search(code, rule.sign))
          found.push_back(fmt::format("{}: {} stays inside {}", where(root, file, number), rule.library, rule.home));
    });
  }
  return found;
}

Violations check_quiet_libraries(const fs::path& root) {
  static const std::regex sign(
      R"(\bstd::(cout|cerr|clog)\b|\b(f|v|vf)?printf\s*\(|\bf?puts\s*\(|\bfmt::print\b|\bgetenv\s*\(|\b(std::|_)_?exit\s*\()");
  static const std::regex beside(R"(\.(test|bench|fuzz)\.cpp$|testing\.hpp$)");
  Violations found;
  for (const auto& file : files_below(root / "farfield", kSources)) {
    const std::string name = fs::relative(file, root).generic_string();
    if (std::regex_search(name, beside) || name == "farfield/core/cpu.cpp") continue;
    for_each_line(file, [&](const std::string& line, int number) {
      if (std::regex_search(line.substr(0, line.find("//")), sign))
        found.push_back(where(root, file, number) + ": a library prints, exits or reads the environment");
    });
  }
  return found;
}

Violations check_portable_flags(const fs::path& root) {
  Violations found;
  auto files = files_below(root, {".txt", ".cmake"});
  files.push_back(root / "CMakePresets.json");
  for (const auto& file : files)
    for_each_line(file, [&](const std::string& line, int number) {
      const std::string code = line.substr(0, line.find('#'));
      if (code.find("-march=native") != std::string::npos || code.find("-mtune=native") != std::string::npos)
        found.push_back(where(root, file, number) + ": compiles for the machine at hand only");
    });
  return found;
}

Violations check_file_length(const fs::path& root, int lines) {
  Violations found;
  for (const char* folder : {"farfield", "apps", "tests", "benchmarks", "python"})
    for (const auto& file : files_below(root / folder, kSources)) {
      int count = 0;
      for_each_line(file, [&](const std::string&, int number) { count = number; });
      if (count > lines) found.push_back(fmt::format("{}: {} lines; at most {}", where(root, file, 1), count, lines));
    }
  return found;
}

Violations check_house_page(const fs::path& root) {
  // | floor | `room` | holds | may use |
  static const std::regex row(R"(^\|\s*\d+\s*\|\s*`([\w/]+)`\s*\|[^|]*\|([^|]*)\|)");
  auto missing = read_layers(root / "cmake/layers.cmake");
  Violations found;
  for_each_line(root / "docs/explanation/house.md", [&](const std::string& line, int number) {
    std::smatch match;
    if (!std::regex_search(line, match, row)) return;
    std::istringstream words(match[2].str());
    const std::set<std::string> said{std::istream_iterator<std::string>(words), {}};
    const auto room = missing.find(match[1].str());
    if (room == missing.end() || room->second != said)
      found.push_back(
          fmt::format("docs/explanation/house.md:{}: {} differs from cmake/layers.cmake", number, match[1].str()));
    if (room != missing.end()) missing.erase(room);
  });
  for (const auto& [room, uses] : missing) found.push_back("docs/explanation/house.md: no row for " + room);
  return found;
}

Violations check_links(const fs::path& root) {
  static const std::regex link(R"(\]\(([^)\s]+)[^)]*\))");
  static const std::regex code(R"(`[^`]*`)");
  static const std::regex elsewhere(R"(^([a-z]+:|#))");
  Violations found;
  for (const auto& file : files_below(root, {".md"})) {
    bool in_code = false;
    for_each_line(file, [&](const std::string& line, int number) {
      if (line.starts_with("```")) in_code = !in_code;
      if (in_code || line.starts_with("    ")) return;
      const std::string text = std::regex_replace(line, code, "");
      for (auto it = std::sregex_iterator(text.begin(), text.end(), link); it != std::sregex_iterator(); ++it) {
        std::string target = (*it)[1].str();
        if (std::regex_search(target, elsewhere)) continue;
        target = target.substr(0, target.find('#'));
        if (!fs::exists(file.parent_path() / target))
          found.push_back(fmt::format("{}: {} leads nowhere", where(root, file, number), target));
      }
    });
  }
  return found;
}

Violations check_attacks(const fs::path& root, int rows) {
  static const std::regex test(R"(^TEST(?:_F|_P)?\((\w+), *(\w+)\))");
  static const std::regex named(R"(`(\w+\.\w+|fuzz_\w+)`)");
  std::set<std::string> known;
  for (const auto* folder : {"farfield", "apps", "tests"})
    for (const auto& file : files_below(root / folder, kSources)) {
      const std::string name = file.filename().string();
      if (name.ends_with(".fuzz.cpp")) known.insert("fuzz_" + name.substr(0, name.size() - 9));
      for_each_line(file, [&](const std::string& line, int) {
        std::smatch match;
        if (std::regex_search(line, match, test)) known.insert(match[1].str() + "." + match[2].str());
      });
    }
  Violations found;
  int attacks = 0;
  const fs::path page = root / "docs/reference/security.md";
  for_each_line(page, [&](const std::string& line, int number) {
    if (!line.starts_with("| ") || line.starts_with("| attack ")) return;
    ++attacks;
    const std::string last = line.substr(line.rfind("| ", line.size() - 3));
    bool proven = last.find("the same") != std::string::npos;
    for (auto it = std::sregex_iterator(last.begin(), last.end(), named); it != std::sregex_iterator(); ++it) {
      proven = true;
      if (!known.contains((*it)[1].str()))
        found.push_back(fmt::format("{}: there is no {}", where(root, page, number), (*it)[1].str()));
    }
    if (!proven) found.push_back(fmt::format("{}: no test is named", where(root, page, number)));
  });
  if (attacks < rows) found.push_back(fmt::format("{} attacks; at least {} are tried", attacks, rows));
  return found;
}

}  // namespace farfield::tests
