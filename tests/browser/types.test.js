// The module's declarations: pages in strict TypeScript compile with them, and what they declare is what the module has.

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import * as client from "../../src/web/client/costage.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const DECLARATIONS = join(HERE, "../../src/web/client/costage.d.ts");
const OPTIONS = {
  strict: true, noEmit: true, types: [], lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
};
// The declarations are served, not installed: here they find Vue as they would in a project that has it.
const WITH_VUE = { ...OPTIONS, baseUrl: HERE, paths: { vue: ["node_modules/vue/dist/vue.d.ts"] } };

/** The browser's own types are most of the work: read once for all programs. */
const host = ts.createCompilerHost(OPTIONS);
const read = new Map();
const { getSourceFile } = host;
host.getSourceFile = (name, ...rest) => {
  if (!read.has(name)) read.set(name, getSourceFile.call(host, name, ...rest));
  return read.get(name);
};

/** Compiles a page of `types/`. Faults of the browser's and Vue's own declarations would be theirs, and are not looked for. */
function compile(page, options) {
  const files = [DECLARATIONS, join(HERE, "types", page)];
  const program = ts.createProgram(files, options, host);
  const faults = files.map((name) => program.getSourceFile(name)).flatMap((file) => [
    ...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file),
  ]);
  const text = ts.formatDiagnostics([...program.getOptionsDiagnostics(), ...faults], { ...host, getNewLine: () => "\n" });
  return { program, text };
}

let checker;
let declared;

before(() => {
  const { program, text } = compile("plain.ts", OPTIONS);
  assert.equal(text, "", "a page without Vue");
  checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(DECLARATIONS));
  declared = new Map(checker.getExportsOfModule(module).map((symbol) => {
    const aliased = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    return [symbol.name, aliased];
  }));
});

const names = (symbols) => [...symbols].map((symbol) => symbol.name).filter((name) => !name.startsWith("__") && name !== "prototype").sort();

test("the guide's panels compile in a strict project with Vue", () => {
  assert.equal(compile("guide.ts", WITH_VUE).text, "");
});

test("the module exports what is declared", () => {
  const values = [...declared].filter(([, symbol]) => symbol.flags & ts.SymbolFlags.Value).map(([name]) => name);
  assert.deepEqual(Object.keys(client).sort(), values.sort());
});

test("enumerations have the declared members and values", () => {
  const enums = [...declared].filter(([, symbol]) => symbol.flags & ts.SymbolFlags.Enum);
  assert.ok(enums.length >= 8);
  for (const [name, symbol] of enums) {
    const members = [...symbol.exports.values()].map((member) => [member.name, checker.getConstantValue(member.valueDeclaration)]);
    assert.deepEqual(client[name], Object.fromEntries(members), name);
  }
});

test("classes have the declared methods and properties", () => {
  const classes = [...declared].filter(([, symbol]) => symbol.flags & ts.SymbolFlags.Class);
  for (const [name, symbol] of classes) {
    const type = checker.getDeclaredTypeOfSymbol(symbol);
    const own = checker.getPropertiesOfType(type).filter((one) => symbol.members.has(one.escapedName));
    const methods = names(own.filter((one) => one.flags & ts.SymbolFlags.Method));
    const there = new Set();
    for (let at = client[name].prototype; at && at !== Object.prototype && at !== Error.prototype; at = Object.getPrototypeOf(at)) {
      for (const key of Object.getOwnPropertyNames(at)) there.add(key);
    }
    assert.deepEqual(methods.filter((one) => !there.has(one)), [], `${name} lacks`);
  }
});

test("the facade has what is declared, and nothing else", () => {
  for (const [use, type] of [["useCoGuestState", "CoGuestState"], ["useLiveSeatState", "LiveSeatState"], ["useDeviceState", "DeviceState"]]) {
    const members = names(checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(declared.get(type))));
    assert.deepEqual(Object.keys(client[use]()).sort(), members, type);
  }
});
