#pragma once
// What endpoints can run, by name and version: verbs of techniques, registered commands, and user code.

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::compute {

enum class FunctionKind {
  verb,     ///< of a technique, "farfield.ptychography.reconstruct": every endpoint has those of its program
  command,  ///< a program with arguments made from the task's
  code,     ///< a program in an archive that the service keeps, unpacked once in each block
};
std::string_view name_of(FunctionKind);

struct FunctionRecord {
  std::string name;     ///< letters, digits, '_', '-', '.'; "farfield." begins those of the program only
  int version = 1;      ///< counts up; an older one stays callable as "name@version"
  FunctionKind kind = FunctionKind::command;
  std::string owner{};  ///< user; who may change it
  std::string experiment{};  ///< whose members may call it; empty: everybody who may compute
  std::string summary{};
  /// Of a command or code. "{member}" is replaced by that member of the arguments ("{{" is a brace), each element stays
  /// one argument; "{in:member}" and "{out:member}" are paths in the experiment's root, checked and made absolute.
  std::vector<std::string> command{};
  std::map<std::string, std::string> environment{};
  std::string input_schema = "{}";  ///< JSON Schema of the arguments
  std::string archive{};  ///< of code: SHA-256 of a .tar.zst, 64 hexadecimal digits
  double created_s = 0;  ///< since 1970
};

}  // namespace farfield::services::compute
