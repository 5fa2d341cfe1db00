// Puzzles to begin with, written as in links.

export const EXAMPLES = {
  sudoku: [
    ["Newspaper", "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"],
    ["Everyday", "..9.38.4..587......2.4..85.39...74.86453.12......2.6.5.....537..3....126....7...."],
    ["Tricky", "....4.2.1..1..7...728.3..9547.89...6..9.6.782.6.71534..9....62..146.9..7687.2..1."],
    ["17 clues", "................12..3..4........53...1........67...89.....6.......21......9...7.5"],
    ["Extreme", ".9.7..1....4.8..2.5....3.....3.7..9..7.6..3..2....5.....64....19...6..8..2...76.."],
  ],
  maze: [
    ["30 by 30", "...X...X.XX......X.....X....../.X.XX.......XGX.XX..X.X...XX../X.X...X...X..X......XXX.X..X../.....X.X.X.X....X..X.X..XX...X/X.X........XXXXXXXX.XX...XX.../XX.XX.XX.X.XX.XXX.X...S......./...XXXX........XXX.X.X..X..X../X..X....XX...X...X...X.....XXX/X.XX......XXXX..X......XXX..../.....X........XX....XX...XX.../....X.....X.X..X...XXX.......X/XXXX.....X..XXXX.XX.X...X...../.XX....XXXXX..XXX..XXX..X..X../XXX...X...X..X...XX.X.X.....X./.......XXXX.XXX.....X.X...X.X./X.X....X.....X........X...X.../X.X..XX..X....X.X.X.XXXX.X..X./.X....XXX.X..X.XXX.......X...X/..X....X.XX...XXX.X....XX.X..X/X..X.....XXX...X..XXXXX.X...../....X.X.XXXX...X.XX........XXX/.X.....XX..X.X.....XX.XXXXXX.X/......X....X.....X.XX.XX.XX..X/.X.XXXX.........X.XXX...X.XX.X/..X.....X....X.XX.X.X......XXX/..XX.....X..X....XX....XXXX..X/........XX.X....X........X.X.X/........X.........XX.X.X....XX/X...X..XX.X..X.X.X..X.......X./..X...X.....X...X....X...X...X"],
    ["30 by 30, trickier", "..X.X.X..XX..X.....G.......XX./X...XX.XX..XXX.........XX..X../..X.......XX...XX.XXX...X...XX/.X.........X..X..X...XX..XXX.X/..XXX..X...XX.X.X....XXX...X../..X...X.....XXXXXX.......X.X../...X..XXX.XX..XXX.XXX...X..X../.X...X..X..X.......X.X....XX.X/......XX.X...X....XX.X...X.XX./XX.X..X..X....XXX...XXX.X.XXX./X.X....X.X........X.X....X..../X.X.XX....X....XX.X.XXX......./.X......XXX.........X.....XX../.X......X.X.X..X.X.X..X.X...X./X..X.XX.XXXX.....XX...XXX..X../.X.....XX...XX..X..X.XXX....../....X..XXXXX..X.X...XX.....X../...XXXXX..X..XX.X...X...X...XX/.....X..X.X..XX....XX.....XXX./...........XXXX.X.XX.X..XXX..X/.XXXXX.X..XXX...X.X.X...XX.X../.X...X.....XX...X.XXXX.XXXX.../.XX.X..X....X.X...X......X.XX./X.X..X.X..X.XX.XX.X.X..X....../X..XX.XXX.X..XX.X...XX......../X.X.X......X..X....X.X.X...X../.X.XXX.X..XXXX..X.....X.X...../XX.X..X...XX.X.XX.X....X.X..X./X.XXXX....S..XX....XXX...X..../XXX........XX..X.X.XX....XX..."],
    ["Small", "S.X..../.X...X./.X.XXX./...X.../.XXX.XX/.....X./XX.X..G"],
    ["Long way", "S..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............X/XXXXXXXXXXXXXX.X/X..............X/X.XXXXXXXXXXXXXX/X..............G"],
  ],
};
