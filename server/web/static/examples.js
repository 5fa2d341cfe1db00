// Puzzles to begin with. The mazes' rows are joined by slashes, X is wall, as in links.

export const EXAMPLES = {
  sudoku: [
    ["Newspaper", "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"],
    ["Everyday", "..9.38.4..587......2.4..85.39...74.86453.12......2.6.5.....537..3....126....7...."],
    ["Tricky", "....4.2.1..1..7...728.3..9547.89...6..9.6.782.6.71534..9....62..146.9..7687.2..1."],
    ["17 clues", "................12..3..4........53...1........67...89.....6.......21......9...7.5"],
    ["Extreme", ".9.7..1....4.8..2.5....3.....3.7..9..7.6..3..2....5.....64....19...6..8..2...76.."],
  ],
  maze: [
    ["Small", "S.X..../.X...X./.X.XXX./...X.../.XXX.XX/.....X./XX.X..G"],
    ["Courtyard", "S.....X....X/XXXX..X.XX.X/...X....X.../.X.XXXX.X.X./.X....X.X.X./.XXXX.X...X./....X.XXXXX./XXX.X......./....XXXX.XX./.XXX......X./.....XXXX.X./.XXX....X..G"],
    ["Long way", "S..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............G"],
  ],
};
