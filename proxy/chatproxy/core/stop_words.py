"""Words that questions are built with and that say nothing of what is asked.

"How do I cancel?" is about cancelling. BM25 gives little to words that stand in every text, but the words of questions
hardly stand in answers, so that it takes "how" for a rare word and prefers a page on which somebody else is asked.
Verbs and prepositions that can be what is asked about ("off", "use", "not") are left in.
"""

from __future__ import annotations

from collections.abc import Sequence

_SAID = {
    "de": """
        aber als am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den der des die dies
        diese diesem diesen dieser dieses doch du durch ein eine einem einen einer eines er es euch euer eure
        für habe haben hat hatte hier ich ihm ihn ihnen ihr ihre im in ist ja kann kannst können könnt könnte
        man mein meine meinem meinen meiner mich mir mit muss müssen nach oder sein seine sich sie sind so soll
        sollte um und uns unser unsere vom von vor wann war waren warum was welche welchem welchen welcher
        welches wem wen wenn wer werden wessen weshalb wie wieso wieviel wird wo woher wohin wurde zu zum zur
        gibt
    """,
    "en": """
        a about am an and any are as at be been being but by can could d did do does doesn don for from had has
        have he her him his how i if in into is isn it its ll m me my of on or our re s shall she should so some
        such t than that the their them then there these they this those to us ve was we were what when where
        which while who whom whose why will with won would you your
    """,
    "es": """
        a al algo alguna alguno como con cuál cuáles cuando cuándo cuánta cuántas cuánto cuántos cómo de del
        donde dónde e el ella ellas ellos en era es esa ese eso esta este esto está están fue ha hace hacer han
        hay he la las le les lo los me mi mis muy nos o para pero por porque puede puedo que qué quien quién se
        ser si son soy su sus también te tengo tiene tu tus un una unas uno unos y ya yo
    """,
    "fr": """
        a ai au aux avec c ce ces cet cette combien comment d dans de des dois doit du elle elles en es est et
        être eu fait il ils j je l la laquelle le lequel les lesquelles lesquels leur leurs lui m ma mais me mes
        moi mon n ne nos notre nous on ont ou où par peut peux pour pourquoi qu quand que quel quelle quelles
        quels qui quoi s sa se ses si son sont sur t ta te tes toi ton tu un une vos votre vous y
    """,
    "it": """
        a ad agli ai al alla alle allo anche c che chi ci cioè come con cosa cui da dagli dai dal dalla dalle
        dei degli del dell della delle dello devo di dove e ed è fa fare gli ha hai hanno ho i il in io l la le
        lei li lo loro lui ma mi mia mie mio nei nel nella nelle noi o per perché più posso può qual quale quali
        quando quanta quante quanti quanto questa queste questi questo se sei si sia sono su sua sue sul sulla
        suo tu tua tuo un una uno voi
    """,
    "nl": """
        aan al als ben bij daar dan dat de der deze die dit door dus een en er gaat had heb hebben heeft hem het
        hier hij hoe hoeveel hun ik in is ja je jij jouw kan kun kunnen kunt maar me men met mij mijn moet naar
        nog of om omdat ons onze ook op over te tot u uw van voor waar waarom wanneer waren was wat we welk
        welke werd wie wij wil word worden wordt ze zich zij zijn zo zou
    """,
    "pt": """
        a ao aos as até com como da das de dela dele devo do dos e é ela elas ele eles em era essa esse esta
        estão este eu faço fazer foi há isso isto já lhe lo mais mas me meu meus minha minhas na nas no nos nós
        o onde os ou para pela pelas pelo pelos pode podem por porque porquê posso qual quais quando quanta
        quantas quanto quantos que quem se sem ser seu seus são sua suas só também tem tenho um uma você vocês
    """,
}
_STOP_WORDS = {language: frozenset(words.split()) for language, words in _SAID.items()}


def telling(words: Sequence[str]) -> list[str]:
    """Those of a question's words (in lower case) that say what it is about.

    Its language is the one that most of its words are stop words of: what means nothing in one ("die", "hat", "no") may
    be the very thing asked about in another.
    """
    said = set(words)
    stop_words = max(_STOP_WORDS.values(), key=lambda each: len(each & said))
    return [word for word in words if word not in stop_words]
