"""Three heads of containers, from which the models of ``head_coding`` learn before they code.

Knows bytes, and is part of the layout of version 2: another letter here, and no container of that
version is read any more.

They are of a ResNet-8 in float, of the same in 8 bits, and of a LeNet-5 of which nine weights of
ten are zero, in 4 bits, all for Fashion-MNIST's classes, as release 0.1.0 exports them. Of each
scale and bias four numbers were kept: the others are noise, and taught nothing (2,503 bytes of
another LeNet-5's head with four of them, 2,540 with all).
"""

import base64

from model_compression.deployment.tensor_cuts import inflate

_SIZES = (2467, 4480, 2185)


def typical_heads() -> tuple[bytes, ...]:
    """The bytes, head by head."""
    content = inflate(base64.b85decode(_FRAME), sum(_SIZES))
    ends = [sum(_SIZES[: place + 1]) for place in range(len(_SIZES))]
    return tuple(content[end - size : end] for size, end in zip(_SIZES, ends, strict=True))


_FRAME = (
    "D77#B03aQ20P39JBsd_daRdJprVt~<hmiRxXp$7<nh3PYucV4`n<~tR(p6z*3f(7U=XVDn8#q=t#uf|Yw17+qQwuEuT>"
    ">!zb&qyNjgriCZGZO?%jXG+vgRb6sr_ydC;9o}(axa4kXZ^FDAq$21S}OkRXIYKF<3NIZn7@~8LW^itGUk;Ykr~!(On)"
    "EBdi`CEygejv~0;HwC^a&Sh^H0=W*fkoD`sZ$AU{57#V0<5FP}u#|y4J1I(6@X!0SC`5<IRlI2Vu*M}Q>b<Kn=^yH9{4"
    "%9Zwb)@WE6GF&kyh818^5XdnZ_k^t_?Y3g>Re}~8kLYbBxk)?k~?&1XER#B%pX8a$Rn%Q<oy^d*nLP4G7k%JtsafRzd#"
    "r0diQl(KgA`q)|E1z%-Z>34AN(<PlZ1~(doQ9Oqt3Y7s9pw`prz%xcz@~OuwygIgZ!E8(J@=cL^$Dv+4h5@bNq!q2F(7"
    "czw+A4p>AtrWbR$Oe(RIZdw<9l6hCSk;rA4&1N61j#mHwTh~8W>HnD6lxk1)d@0qkVD)g4tXlPO+)wSNCcTkNeJZ8;Z!"
    "ylpHyND&9N;|s_U2)#x1xF&>3`XDD)q4KKbbuyHkH0#_uuSO@w-Gz)IA*azv@$YH7T-&wjZnb_ROOmKKk#xr_%OA{SW&"
    "{<Qk9&^{~_b9H)W+5_1pZ{y+V<`af^yxAN)l4~tW2ouMT@JuJPIwUa6Q1wQQQ$AvL5GO@8>*E45IrMC`s=5_@9M&?c|_"
    "`B|v;Pr29g?WKd4*l%>9xQ%N2&ujP2246O3TwcwAI$3t(JKjj{Z%@K0p7(b`qZ*7-Sil!-k+#FKr)#_V&on{g!_+ERbJ"
    "W+t7C~6dB>tRv(I4yYnQ@bnmNN-jCge<{n!<V5`jI@smMz&)%Ib62iQZ>6-FhH7Tp;cn|o>HpF=Sk4J<wx&7&JT&{C$C"
    "PReCM-0Ustbj@N3*5)9KGB169C2*jJm!}I5D=5$hEE^yhUK)8fiqjJ7mBEEPx5f&)Mo;|GwoC=5B`3qm%tJXtna>3rFM"
    "WKCU7wm4NXbp-tRZ@^h9J3k>DqsntC)4A)!gr9)fLs$tQ3b=wc*vS*y@$3xvidE@x9XC^{<uU*U!$b=;z43Tt8=5#&)G"
    "&HYvsZP3+C=+{2U?>}fHIalrr^)t|GdAgAOd7btVvl`Gh-E_FMQK@+1VL0{%%TbHp=iZa<O&Cd?Bu<uv06xn5*&^#u(W"
    "H(?0&~DX5jxo|SPs7ra!~PcZz)mTXWiJE*pX2bLyCDy4GolbR;yXOT3|7<SW%v!}U!IdZqL4MY$!szQ5FwUl)q>M}$B7"
    "4TjvXFG9*J!1zXwBRHg;0XX#*bY2OgZ^2_><ZQAqhTTWMpIW}pkb>!_nk3pS5wWq-;{#7&f!c6^bh_2x4l8$sp)L*icM"
    "YR<f;Z_PsFhS`fMiam>wWfl<yXvEv7SVKivH@78lJgEx?^PUxt(o8H!%508E;91JDm&U76b~aSy22YI+CbJ$XGC9Bb>`"
    "oXdu{2CQ=Rv=)9WCpRtYwoIHji|QTqOg|uBVf5uZftjA#h;H8#1!88|g;OEf`th+3{4hAF;6j%O=v8&ZBFL280?DxgbQ"
    "%SmU?F2zP~y@qjW&Ob2MkJ51cgR&b-@A{9KuR6)cz%T-6b=TnTBMkf<7-U-K-5$o58$?Sm;fAO#vQ>}KKy)zU?Mfiw6O"
    ">hwZh?A(nh%v??Xh0d)ycmsUWjo#=Fjxl!0$X5f<qHf52EVWrps%7Up$_zDH0t(3^ZfZ#IvY4~JlSlzc`*|p?<InxGMP"
    "l)UpF!thO~8?dHlp0d9;36t2bOVP8zp_v#mDr7~4~&ZC7omTmF2)IdMA-Z&I5{Hzt$n|8l83-VT(>x8!{z?PG0?j~}kK"
    "rPgXSE)EOs?JY{BPObV>>L#`IXcP*~tIqt%d>)<n7YQpO{%js-y2ULWxcvvr`sy!n|G|_;3Q6X@L@Lqjq<p;VqqVGhMD"
    "uM)nQ?Xd0TgxShug}WK5J_9*6<SJY6x)6H=OF6KBc)(ht|K(_1jTr)Y9aFSKrpxEcdp0X>vX=&&K=LDA!(n4SsfMa%^B"
    "}er}e7uRfw@0~`)-$oV-R0WcqVKdCxY2nYX_p1hIvv9^GAR)K=qgfg<R7oI+uI#j=vPi7LpN1($XPV@Zub>q$FnzF{wt"
    "nVjYBcHX2X`N?~YIviL&~GU<*G~{35TW^0!c=E2r4ddLUDQ+`*U_f;Q+n%E@U2s)_B~}TZN0Ag1oW)e_gf5q2zxiczk)"
    "y4v4D4fKZJ*Y9}E7uTAx6I7I}B>;Av^6@p{G4(zp*gg?oUmwL}q$;rp{}vRU7iFU$?XMNo|xRkdY6%(DDfXhdR10r1Ny"
    "lhs|?;pwKl!hxGs>1pOtDfc*jlJhJ(nQc=VId2FFq*YNq?){LZB(NdFSWnqQq$FKMx$6Zf*{m*-OoWk^T!T%DGI_@-Em"
    "=_3rdh1kG{0qtWC?ilT>*uPRZaA0p`8odbE}#FD%O9>+<H>cj|yTK@CMyrmisG$w2w$zYTw7&YONmO7F6S?_S+lPGnh)"
    "Hx*m-}p-umB|MUD=;{%>fIOh>>%E0eu)z>Qeq|+K_B8ML?#?>IGYUYxO)JhibC30yWZ3uOoufwXr?-eD(slEaK2>?C(^"
    "#j=18G7H~hXgOQqq^EMa|Ln%_o%MC8!bQr!yp$I)fI3L2;fYM9KzEtpU-v6W<{-e>F75#$ZPUrqS{;<I*L-e6oxVNbLm"
    "`Im!*bUacYK3Kh;j{Wf%D3Y$ca=1_AkgZJ1DKE{%I3DN#WZ?FpA|24PNF*=(s`Hap5KQ8s&OiqGfQvRP9D^6&}d^ZiD="
    "^itTR>?#_~=pM9m5`X})mcHdG0xT_!ta{oe6XU9-tBOTDJuDjMw7#^o^%9x3rK@W?#I$tW($jEsGSzA6Hyoa(5;;4z^f"
    "Y)tZ)vGqCB&|!bse6LN(s@arJ=@5n&etK_j&s11W-)+-|M!(0L6IIU6&XPotJoynV2|E9R)uYWi7^Yu+HK=0*_)aa@OK"
    "AJbvO7BG_Uec4x5<<Q%K{0)n-u(&?FD#*B=Nh{#Nm6j}okTL?mljv<EH0U|pPBO$2_Ax20DB84Ov2}C52q$H^{1|Q6b4"
    "Ln|Ao2L=|;y9@oD3WyzHi@YC;~jJ8xk)g=o;oqj<RB;7;3x*gV32GKoRlP)y9<U+$)Fy9Ns77;1CNrPhXV?qnacZ~RoX"
    "j`fe4z<YpG;VyEdTvi!<{hrh3w@@Wb+^Ep7%H3h+M<t&+@7m4Sf?#xV`=r8zk()u*M9X*Ky<k$NK-M%1I<>ZtkF)jahe"
    "=R^%wJF+|$z7ZZ)1=8+FNixZQ1hwTyuxu1QI|Vm79)%qK$RUix6!EqV1L=c=5QVK5r6CojNb%;8idYf0OB&p>V;nXu_A"
    "CetG+#X}828cg+w{}VAZ4D48&>2@&OEprNaU<K$?coQs3S2H5!A&;oboH@5ctSMYxC?SlosFOqkoGY2!lCZn>IIT`gnX"
    "!<K3w<rT3M*l?l;FhV+6h#G4ePH<i_iTdj9*l^^Tfkn^4zFwS-qmW~~~fZp$aNVW>9-ZJ~Oi0&^l+Di-u$AgHR_Su8yB"
    "Jf{dXd8yF7kmVr6n)2Uc%o(Mu<VCnor?Lp<aueBbuJi#I+s+L!G-KlmcXpHbb<8QUzHo0w+MPc0Emxy(m4W7K@==Uz!{"
    "3latd(L0eXF<3Ua8RGZ|zVp4b3M(P8~Q7Hg)zczLfc(4q>GU~h(!FQhLxG5GKy%*Yb_+H!q|gsnNq^&xP)(1jYh$-a#x"
    "ic44?NyC?DJZFCCT)#)mO>Q|`Dr=U~?}Hj54qU$Ecv(akb3fY6O9hK=%%{v^0#@QM&>+s<q*koYG6k$*aI~r4iAV6bH1"
    "v}#z^dsn86uJ7>o>1v#K&$-CR;--@KB-bzDG(}ZEVSuzN?8x-Sox1n&6Qaw!^Sk1y#nv=XS~eEdM~(q=tS6`=dX~H4NA"
    "YSs<Ou3=g$UJdQNHpI@R9d?yRo5y-1XI`Eho$GD3v^i~7cen8alb8KT%mHoziN_ZGBkNpkNERQU24{ujjXWd`xLnPEni"
    "1BTQhWoOZb!XDQXo0U>DIcmo420356dLH3tVl*(X5LA%ysU^QdCWw%!*sYs@rd`xgG6h*BqM;W&;=%{D4e&!+xBqt&L3"
    "UKwm(%lwp*9tmOad+LNfv~r;xTg+;gOV;;`ye4iknHsqc4nX0~Xh<V30OBrR>3MLgSXF8AM1=V~E9g1TFEyz%z4v%Oh3"
    "<lv7KP6Lb}Tr`Gy(Xr{?s}JIAq>G*ngNX=yL^J$6nD)koeYhr=M=+B-8Vm{z$OK>YU4_OgD%$FJ@qATxb((lMqiB41<J"
    "2&vc_L{ln+9y2Ze@y~odEKM%!Tf)Kd+PqozF(d5S<Z%yOf@kRp6;Hk_Cg7I2Vrk+I4yM(oiZb(H~p$8lbZY=bq!#CzhU"
    "5x6N{R+1xg>D$!JYan@Rb0d&qLcY>N~PkgaPc1tQ<eMF4}#3zs?K@$77q<i32;R_{aGp(?s-6ml&`&~MeqG|hy1(X6_R"
    "q2)wN=FhO0)DdzDatvjh=s5DTISic*(>(&V$#F{"
)
